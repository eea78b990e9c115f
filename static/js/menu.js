// Menus that open beside a button: arrow keys move, Escape closes, the focus goes back.

import { h, icon } from "./dom.js";

const EDGE = 8;
let close = () => {};

/**
 * Open a menu. `entries` are `{label, glyph, act, href, download, bad}`; null is a line between.
 * It stands below `opener`, or at the point `at`.
 */
export function openMenu(opener, entries, { at = null, label = "Actions" } = {}) {
  close();
  const items = [];
  const menu = h("div", { class: "menu", role: "menu", "aria-label": label, tabindex: -1 });
  for (const entry of entries) {
    if (entry === null) menu.append(h("div", { class: "menu-line", role: "separator" }));
    else items.push(menu.appendChild(itemOf(entry)));
  }
  const end = (back = true) => {
    document.removeEventListener("pointerdown", outside, true);
    removeEventListener("resize", away);
    menu.remove();
    opener.removeAttribute("aria-expanded");
    if (close === end) close = () => {};
    if (back && opener.isConnected) opener.focus({ preventScroll: true });
  };
  const outside = (event) => { if (!menu.contains(event.target)) end(false); };
  const away = () => end();
  const step = (by) => items[(items.indexOf(document.activeElement) + by + items.length) % items.length].focus();

  menu.addEventListener("keydown", (event) => {
    const act = {
      ArrowDown: () => step(1),
      ArrowUp: () => step(-1),
      Home: () => items[0].focus(),
      End: () => items.at(-1).focus(),
      Escape: () => end(),
      Tab: () => end(),
    }[event.key];
    if (!act) return typed(event, items);
    event.preventDefault();
    event.stopPropagation();
    act();
  });
  menu.addEventListener("click", (event) => {
    const place = items.indexOf(event.target.closest("[role=menuitem]"));
    if (place < 0) return;
    const entry = entries.filter(Boolean)[place];
    end();
    entry.act?.();
  });
  (opener.closest("dialog, main, header, section") ?? document.body).append(menu);
  place(menu, at ?? opener.getBoundingClientRect());
  if (opener.matches("button")) opener.setAttribute("aria-expanded", "true");
  document.addEventListener("pointerdown", outside, true);
  addEventListener("resize", away);
  close = end;
  items[0].focus();
}

function itemOf({ label, glyph, href, download, bad }) {
  const props = { class: bad ? "menu-item bad" : "menu-item", role: "menuitem", tabindex: -1 };
  const item = href ? h("a", { ...props, href, download }) : h("button", { ...props, type: "button" });
  item.append(icon(glyph), h("span", {}, label));
  return item;
}

/** Go to the next entry that begins with the letter. */
function typed(event, items) {
  if (event.key.length !== 1 || event.ctrlKey || event.metaKey || event.key === " ") return;
  const start = items.indexOf(document.activeElement) + 1;
  const order = [...items.slice(start), ...items.slice(0, start)];
  order.find((item) => item.textContent.toLowerCase().startsWith(event.key.toLowerCase()))?.focus();
}

function place(menu, at) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = at.bottom ?? at.y;
  const top = below + height + EDGE > innerHeight ? Math.max(EDGE, (at.top ?? at.y) - height - 4) : below + 4;
  const wanted = at.right === undefined ? at.x : at.right - width;
  menu.style.top = `${top}px`;
  menu.style.left = `${Math.max(EDGE, Math.min(wanted, innerWidth - width - EDGE))}px`;
}
