// Keys, clicks and touches on the list: moving about, selecting, opening.

import { isTyping } from "./dom.js";

const HELD = 500;

/** Have `view` obey. `acts` are open, rename, trash, menu; each is given a file and its element. */
export function startKeys(view, selection, acts) {
  const { canvas, list } = view;
  const fileOf = (event) => {
    const element = event.target.closest?.("[data-id]");
    return element ? list.byId(element.dataset.id) : null;
  };

  canvas.addEventListener("focusin", (event) => {
    const file = fileOf(event);
    if (file) view.noteFocus(list.indexOf(file.id));
  });

  canvas.addEventListener("click", (event) => {
    const file = fileOf(event);
    if (!file || event.target.closest("button, input:not(.box)")) return;
    if (event.target.matches(".box")) {
      // The browser has changed the box already, and the selection sets it again.
      if (event.shiftKey) selection.extend(file.id, { adding: true });
      else selection.toggle(file.id);
      return;
    }
    const plain = !event.shiftKey && !event.ctrlKey && !event.metaKey;
    if (event.target.closest("a") && plain) {
      event.preventDefault();
      if (selection.size && event.pointerType === "touch") selection.toggle(file.id);
      else acts.open(file);
      return;
    }
    event.preventDefault();
    if (event.shiftKey) selection.extend(file.id);
    else if (event.ctrlKey || event.metaKey || (selection.size && event.pointerType === "touch")) selection.toggle(file.id);
    else if (event.target.closest(".shown") || event.pointerType === "touch") acts.open(file);
    else selection.only(file.id);
  });

  canvas.addEventListener("dblclick", (event) => {
    const file = fileOf(event);
    if (file && !event.target.closest("button, input")) acts.open(file);
  });

  canvas.addEventListener("contextmenu", (event) => {
    const file = fileOf(event);
    if (!file || event.target.closest("input:not(.box)")) return;
    event.preventDefault();
    if (event.pointerType === "touch") return;
    if (!selection.has(file.id)) selection.only(file.id);
    acts.menu(file, event.target.closest("[data-id]"), { x: event.clientX, y: event.clientY });
  });

  startHolding(canvas, fileOf, selection);
  canvas.addEventListener("keydown", (event) => {
    const file = fileOf(event);
    if (file && !isTyping(event.target)) press(event, file, view, selection, acts);
  });
  view.every.addEventListener("change", () => (view.every.checked ? acts.all() : selection.clear()));
}

/** A finger that rests on a file selects it. */
function startHolding(canvas, fileOf, selection) {
  let timer = 0;
  canvas.addEventListener("pointerdown", (event) => {
    const file = fileOf(event);
    if (event.pointerType !== "touch" || !file) return;
    timer = setTimeout(() => selection.toggle(file.id), HELD);
  });
  for (const name of ["pointerup", "pointercancel", "pointermove"]) canvas.addEventListener(name, () => clearTimeout(timer));
}

function press(event, file, view, selection, acts) {
  const to = target(event, view);
  if (to !== null) {
    event.preventDefault();
    move(to, file, event, view, selection);
    return;
  }
  const inside = event.target.matches("a, button, input");
  const element = event.target.closest("[data-id]");
  const act = {
    " ": inside ? null : () => selection.toggle(file.id),
    Enter: inside ? null : () => acts.open(file),
    F2: () => acts.rename(file),
    Delete: () => acts.trash(selection.has(file.id) ? selection.files() : [file]),
    ContextMenu: () => acts.menu(file, element),
    F10: event.shiftKey ? () => acts.menu(file, element) : null,
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

/** Return the index of the file that a key leads to, null for any other key. */
function target(event, view) {
  if (event.altKey) return null;
  const { active, columns, list, holder, rows } = view;
  const page = Math.max(1, Math.floor(holder.clientHeight / rows.rowHeight) - 1) * columns;
  const sideways = columns > 1 && event.target.matches("[data-id]") ? 1 : 0;
  const steps = { ArrowDown: columns, ArrowUp: -columns, PageDown: page, PageUp: -page, ArrowRight: sideways, ArrowLeft: -sideways };
  const last = list.items.length - 1;
  if (event.key === "Home" && !event.shiftKey) return 0;
  if (event.key === "End" && !event.shiftKey) return last;
  const step = steps[event.key];
  return step ? Math.max(0, Math.min(last, active + step)) : null;
}

function move(to, file, event, view, selection) {
  if (event.shiftKey && !selection.anchor) selection.only(file.id);
  view.focus(to);
  const reached = view.list.items[to];
  if (event.shiftKey && reached) selection.extend(reached.id);
}
