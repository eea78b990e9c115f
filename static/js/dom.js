// Makes and finds elements. Text is always a text node: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/**
 * Make an element. In `props`, functions are listeners (`onclick`), true and false are presence
 * and absence, `data` is a dataset, and all else is an attribute.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "class") element.className = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Make the icon `name` of the page's sprite; it says nothing to a screen reader. */
export function icon(name, className = "") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  if (className) svg.setAttribute("class", className);
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Make a button that shows an icon only, and tells its name to those who cannot see it. */
export function iconButton(name, label, onclick, props = {}) {
  const button = h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...props });
  button.append(icon(name));
  return button;
}

export function button(label, onclick, { kind = "", glyph = null, ...props } = {}) {
  const made = h("button", { type: "button", class: `button ${kind}`.trim(), onclick, ...props });
  if (glyph) made.append(icon(glyph));
  made.append(h("span", {}, label));
  return made;
}

/** Show another icon in a button made by iconButton. */
export function setIcon(holder, name) {
  holder.querySelector("use").setAttribute("href", `#i-${name}`);
}

/** Set a text without touching the document when it is the same. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Tell those who cannot see it what has happened; `urgent` interrupts. */
export function announce(text, { urgent = false } = {}) {
  const region = byId(urgent ? "urgent" : "polite");
  region.textContent = "";
  requestAnimationFrame(() => {
    region.textContent = text;
  });
}

/** Return a function that calls `act` once `wait` ms have passed without another call. */
export function debounced(act, wait) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...given), wait);
  };
}

/** Say whether what has the focus takes typing. */
export function isTyping(target) {
  return target instanceof HTMLElement && target.matches("input:not([type=checkbox]), textarea, select, [contenteditable]");
}
