// The list of files on the page: a table or a grid, its headings, and what it says when empty.

import { button, h, icon } from "./dom.js";
import { count, number } from "./format.js";
import { explain } from "./explain.js";
import * as query from "./query.js";
import { COLUMNS, card, placeholder, setActive, setSelected, tableRow } from "./rows.js";
import { VirtualRows } from "./virtual.js";

const CARD = 200;
const GAP = 16;

export class ListView {
  /** `holder` scrolls; `actsOf(trash)` gives the buttons of a file; `onUpload` begins an upload. */
  constructor(holder, list, selection, { actsOf, onUpload }) {
    Object.assign(this, { holder, list, selection, actsOf, onUpload });
    this.mode = "table";
    this.columns = 1;
    this.active = 0;
    this.head = this.makeHead();
    this.canvas = h("div", { class: "canvas", role: "rowgroup" });
    this.sheet = h("div", { class: "sheet", role: "grid", "aria-multiselectable": "true", "aria-label": "Files" }, this.head, this.canvas);
    this.blank = h("div", { class: "blank", hidden: true });
    holder.append(this.sheet, this.blank);
    this.rows = new VirtualRows(holder, this.canvas, {
      rowHeight: 52,
      draw: (index) => (this.mode === "table" ? this.drawRow(index) : this.drawCards(index)),
      reached: (first, last) => this.reached(first, last),
    });
    list.addEventListener("open", () => this.opened());
    list.addEventListener("change", () => this.changed());
    list.addEventListener("replace", (event) => this.rows.redrawRow(this.rowOf(event.detail)));
    selection.addEventListener("change", () => this.showSelection());
    new ResizeObserver(() => this.measure()).observe(holder);
  }

  setMode(mode) {
    this.mode = mode;
    this.sheet.classList.toggle("cards", mode === "grid");
    this.rows.clear();
    this.measure();
  }

  /** Find how many files stand side by side, and how high a row is. */
  measure() {
    const width = this.holder.clientWidth - 2 * parseFloat(getComputedStyle(this.sheet).paddingLeft);
    const narrow = width < 620;
    const columns = this.mode === "table" ? 1 : Math.max(2, Math.floor((width + GAP) / (CARD + GAP)));
    const wide = (width - (columns - 1) * GAP) / columns;
    const height = this.mode === "table" ? (narrow ? 60 : 52) : Math.round(wide * 0.72) + 60 + GAP;
    if (columns !== this.columns) this.rows.clear();
    this.columns = columns;
    this.sheet.style.setProperty("--columns", columns);
    this.resize(height);
  }

  resize(height = this.rows.rowHeight) {
    const waiting = !this.list.started && !this.list.error;
    const length = waiting ? 12 : this.list.length;
    this.rows.resize(Math.ceil(length / this.columns), height);
    this.sheet.setAttribute("aria-rowcount", String(Math.ceil(length / this.columns) + 1));
  }

  opened() {
    this.active = 0;
    this.holder.scrollTop = 0;
    this.showHead();
    this.rows.clear();
    this.changed();
  }

  changed() {
    this.selection.prune();
    this.active = Math.max(0, Math.min(this.active, this.list.items.length - 1));
    const focused = this.focusedId();
    this.rows.clear();
    this.measure();
    this.showBlank();
    if (focused !== null) this.focus(Math.max(0, this.list.indexOf(focused) < 0 ? this.active : this.list.indexOf(focused)));
  }

  /** Return the file whose row has the focus, null where the focus is elsewhere. */
  focusedId() {
    const held = document.activeElement?.closest?.("[data-id]");
    return held && this.canvas.contains(held) ? held.dataset.id : null;
  }

  reached(first, last) {
    if (!this.list.started || this.list.finished) return;
    this.list.want(Math.min((last + 1) * this.columns, this.list.length - 1));
  }

  rowOf(index) {
    return Math.floor(index / this.columns);
  }

  options(file, index) {
    const { trash } = query.current();
    return { selected: this.selection.has(file.id), active: index === this.active, trash, acts: this.actsOf(trash) };
  }

  drawRow(index) {
    const file = this.list.items[index];
    return file ? tableRow(file, index, this.options(file, index)) : placeholder(index);
  }

  drawCards(row) {
    const cards = [];
    for (let column = 0; column < this.columns; column += 1) {
      const index = row * this.columns + column;
      const file = this.list.items[index];
      if (file) cards.push(card(file, { ...this.options(file, index), column }));
      else if (index < this.list.length || !this.list.started) cards.push(placeholder(index, true));
    }
    return h("div", { class: "card-row", role: "row", "aria-rowindex": row + 2 }, cards);
  }

  elementOf(index) {
    const id = this.list.items[index]?.id;
    return id ? this.canvas.querySelector(`[data-id="${CSS.escape(id)}"]`) : null;
  }

  /** Make a file the one that keys act on, and show it. */
  focus(index) {
    const old = this.elementOf(this.active);
    if (old) setActive(old, false);
    this.active = index;
    this.rows.reveal(this.rowOf(index), this.head.offsetHeight);
    const element = this.elementOf(index);
    if (!element) return;
    setActive(element, true);
    element.focus({ preventScroll: true });
  }

  /** Note that the focus went to a file by itself. */
  noteFocus(index) {
    if (index === this.active) return;
    const old = this.elementOf(this.active);
    if (old) setActive(old, false);
    this.active = index;
    setActive(this.elementOf(index), true);
  }

  showSelection() {
    for (const element of this.canvas.querySelectorAll("[data-id]")) setSelected(element, this.selection.has(element.dataset.id));
    const { size } = this.selection;
    this.every.checked = size > 0 && size >= this.list.items.length;
    this.every.indeterminate = size > 0 && !this.every.checked;
    this.sheet.classList.toggle("selecting", size > 0);
  }

  makeHead() {
    this.every = h("input", { type: "checkbox", class: "box", id: "every", "aria-label": "Select all files" });
    const head = h("div", { class: "row head", role: "row", "aria-rowindex": 1 });
    head.append(h("div", { class: "cell check", role: "columnheader" }, this.every, h("label", { for: "every", "aria-hidden": "true" }, "Select all")));
    this.headings = COLUMNS.map(([name, label, sorts]) => {
      const content = sorts ? h("button", { type: "button", class: "sorter", onclick: () => sortBy(sorts) }, label, icon("down")) : label;
      return h("div", { class: `cell ${name}`, role: "columnheader" }, content);
    });
    head.append(...this.headings, h("div", { class: "cell acts", role: "columnheader" }, h("span", { class: "quiet" }, "Actions")));
    return head;
  }

  showHead() {
    const { sort, trash } = query.current();
    this.sheet.setAttribute("aria-label", trash ? "Files in the trash" : "Files");
    COLUMNS.forEach(([name, label, sorts], place) => {
      const heading = this.headings[place];
      const sorted = sorts?.includes(sort);
      if (!sorts) return;
      if (sorted) heading.setAttribute("aria-sort", sort.startsWith("-") ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
      if (name === "added") heading.querySelector("button").firstChild.data = trash ? "Deleted" : label;
    });
  }

  /** Say why there is nothing to see, and what to do about it. */
  showBlank() {
    const { list } = this;
    const nothing = list.started && list.finished && !list.items.length;
    this.sheet.hidden = nothing || (list.error && !list.items.length);
    this.blank.hidden = !nothing && !list.error;
    this.blank.classList.toggle("failed", Boolean(list.error));
    if (list.error) this.blank.replaceChildren(...this.failure(list.error));
    else if (nothing) this.blank.replaceChildren(...this.emptiness());
  }

  failure(error) {
    return [
      icon("alert"),
      h("h2", {}, "The files can't be listed"),
      h("p", {}, explain(error)),
      button("Try again", () => this.list.retry()),
    ];
  }

  emptiness() {
    const { trash, collection } = query.current();
    if (query.current().q || query.current().type) {
      return [
        icon("search"),
        h("h2", {}, "Nothing matches"),
        h("p", {}, "Search looks for a part of the name, in any case."),
        button("Show all files", () => query.change({ q: "", type: "" })),
      ];
    }
    if (trash) return [icon("trash"), h("h2", {}, "The trash is empty"), h("p", {}, "What you delete waits here for a while, so that you can take it back.")];
    return [
      icon("holdall", "large"),
      h("h2", {}, collection ? `“${collection}” is empty` : "Room for everything"),
      h("p", {}, "Drop files or folders anywhere on this page, or paste a picture."),
      this.onUpload ? button("Choose files", () => this.onUpload(), { kind: "primary", glyph: "upload" }) : null,
    ].filter(Boolean);
  }

  /** Say how many files there are. */
  counted() {
    const { list } = this;
    if (!list.started) return list.error ? "" : "Loading…";
    return list.exact ? count(list.total, "file", "files") : `At least ${number(list.total)} files`;
  }
}

function sortBy([first, second]) {
  query.change({ sort: query.current().sort === first ? second : first });
}
