// Short messages at the edge of the page, with an action where there is one; said aloud, too.

import { announce, byId, h, iconButton } from "./dom.js";

const SHOWN_FOR = 8000;
const MOST = 3;

/** Show a message. It stays while it is pointed at or has the focus. Returns a function to end it. */
export function toast(text, { action = null, act = null, bad = false, lasts = SHOWN_FOR } = {}) {
  const region = byId("toasts");
  const element = h("div", { class: bad ? "toast bad" : "toast" }, h("p", {}, text));
  const end = () => {
    clearTimeout(timer);
    element.remove();
  };
  if (action) {
    element.append(h("button", { type: "button", class: "link", onclick: () => { end(); act(); } }, action));
  }
  element.append(iconButton("close", "Dismiss", end));
  let timer = setTimeout(end, lasts);
  for (const event of ["pointerenter", "focusin"]) element.addEventListener(event, () => clearTimeout(timer));
  for (const event of ["pointerleave", "focusout"]) {
    element.addEventListener(event, () => {
      clearTimeout(timer);
      timer = setTimeout(end, lasts);
    });
  }
  region.append(element);
  while (region.children.length > MOST) region.firstElementChild.remove();
  announce(action ? `${text} ${action} is offered.` : text, { urgent: bad });
  return end;
}
