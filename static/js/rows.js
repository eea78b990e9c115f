// Draws one file as a row of the table or a card of the grid. Knows no request and no state.

import { bytesOf } from "./api.js";
import { h, icon, iconButton } from "./dom.js";
import { bytes, count, fullMoment, moment, splitName } from "./format.js";
import { hasThumbnail, iconOf, kindOf, typeName } from "./kinds.js";

/** Columns of the table: the class of its cells, the heading, and what it sorts by. */
export const COLUMNS = [
  ["name", "Name", ["name", "-name"]],
  ["type", "Type", null],
  ["size", "Size", ["-size", "size"]],
  ["collection", "Collection", null],
  ["added", "Added", ["-created", "created"]],
];

/** Draw a file as a row. `acts` are the buttons at its end, from first to last. */
export function tableRow(file, index, { selected, active, trash, acts }) {
  const when = trash ? file.deleted_at ?? file.updated_at : file.created_at;
  const row = h("div", {
    class: "row",
    role: "row",
    "aria-rowindex": index + 2,
    "aria-selected": String(selected),
    tabindex: active ? 0 : -1,
    data: { id: file.id },
  });
  row.append(
    cell("check", checkbox(file, selected, active)),
    cell(
      "name",
      picture(file, 80, 80),
      h("span", { class: "name-text" }, nameOf(file, trash, active), h("span", { class: "under" }, `${bytes(file.size)} · ${moment(when)}`)),
    ),
    cell("type", typeName(file.content_type)),
    cell("size", bytes(file.size)),
    cell("collection", file.collection),
    cell("added", h("time", { datetime: when, title: fullMoment(when) }, moment(when))),
    cell("acts", acts.map(([glyph, label, act]) => rowButton(glyph, label, file, act, active))),
  );
  return row;
}

/** Draw a file as a card. */
export function card(file, { selected, active, trash, acts, column }) {
  const element = h("div", {
    class: "card",
    role: "gridcell",
    "aria-colindex": column + 1,
    "aria-selected": String(selected),
    tabindex: active ? 0 : -1,
    data: { id: file.id },
  });
  const more = acts.at(-1);
  element.append(
    h("div", { class: "shown" }, picture(file, 480, 360)),
    checkbox(file, selected, active),
    h(
      "div",
      { class: "caption" },
      h("span", { class: "name-text" }, nameOf(file, trash, active), h("span", { class: "under" }, `${typeName(file.content_type)} · ${bytes(file.size)}`)),
      rowButton(...more.slice(0, 2), file, more[2], active),
    ),
  );
  return element;
}

/** Draw the place of a file that is still to be fetched. */
export function placeholder(index, asCard = false) {
  if (asCard) return h("div", { class: "card bare", role: "gridcell" }, h("div", { class: "shown bone" }), h("div", { class: "bone line" }), h("span", { class: "quiet" }, "Loading"));
  return h(
    "div",
    { class: "row bare", role: "row", "aria-rowindex": index + 2 },
    h("div", { class: "cell check", role: "gridcell" }),
    h("div", { class: "cell name", role: "gridcell" }, h("span", { class: "picture bone" }), h("span", { class: `bone line w${index % 4}` }), h("span", { class: "quiet" }, "Loading")),
  );
}

/** Make the buttons of a row reachable by Tab, or not: those of one row at a time are. */
export function setActive(element, active) {
  element.tabIndex = active ? 0 : -1;
  for (const inner of element.querySelectorAll("a, button, input")) inner.tabIndex = active ? 0 : -1;
}

export function setSelected(element, selected) {
  element.setAttribute("aria-selected", String(selected));
  const box = element.querySelector("input[type=checkbox]");
  if (box) box.checked = selected;
}

export const describe = (file) => `${file.filename}, ${typeName(file.content_type)}, ${bytes(file.size)}`;
export const describeCount = (amount) => count(amount, "file", "files");

function cell(name, ...content) {
  return h("div", { class: `cell ${name}`, role: "gridcell" }, ...content);
}

function checkbox(file, selected, active) {
  const box = h("input", { type: "checkbox", class: "box", "aria-label": `Select ${file.filename}`, tabindex: active ? 0 : -1 });
  box.checked = selected;
  return box;
}

function nameOf(file, trash, active) {
  const [stem, extension] = splitName(file.filename);
  const parts = [h("span", { class: "stem" }, stem), h("span", { class: "extension" }, extension)];
  const common = { class: "file-name", title: file.filename };
  if (trash) return h("span", common, ...parts);
  return h("a", { ...common, href: bytesOf(file), "aria-label": file.filename, tabindex: active ? 0 : -1, draggable: "false" }, ...parts);
}

function rowButton(glyph, label, file, act, active) {
  const menu = glyph === "more" ? { "aria-haspopup": "menu" } : {};
  return iconButton(glyph, `${label}: ${file.filename}`, (event) => act(file, event.currentTarget), {
    tabindex: active ? 0 : -1,
    title: label,
    ...menu,
  });
}

/** Show a thumbnail, and the type's icon where there is none or it cannot be made. */
function picture(file, width, height) {
  const kind = kindOf(file.content_type);
  const holder = h("span", { class: "picture", data: { kind } }, icon(iconOf(file.content_type)));
  if (!hasThumbnail(file.content_type) || file.deleted_at) return holder;
  const image = h("img", {
    alt: "",
    loading: "lazy",
    decoding: "async",
    draggable: "false",
    src: bytesOf(file, { w: width, h: height, fit: "cover", format: "auto" }),
  });
  image.addEventListener("load", () => holder.classList.add("seen"), { once: true });
  image.addEventListener("error", () => image.remove(), { once: true });
  holder.append(image);
  return holder;
}
