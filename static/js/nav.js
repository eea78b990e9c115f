// The places on the left: files, trash, kinds, collections, and how much is used.

import { api } from "./api.js";
import { byId, h, icon, setText } from "./dom.js";
import { bytes, count, number } from "./format.js";
import { FILTERS } from "./kinds.js";
import * as query from "./query.js";
import { current } from "./session.js";

const PLACES = [["All files", "files", { trash: false }], ["Trash", "trash", { trash: true }]];

export class Nav {
  constructor() {
    this.collections = [];
    this.usages = [];
    this.opener = byId("nav-open");
    this.element = byId("nav");
    this.shade = byId("nav-shade");
    this.opener.addEventListener("click", () => this.toggle());
    this.shade.addEventListener("click", () => this.toggle(false));
    this.element.addEventListener("keydown", (event) => { if (event.key === "Escape") this.toggle(false); });
    this.element.addEventListener("click", (event) => this.follow(event));
    query.onQuery(() => this.show());
  }

  /** Ask for the collections and for what is used; without an answer there is less to see. */
  async load() {
    const asked = [api("GET", "api/collections"), api("GET", "api/usage")];
    const [collections, usages] = await Promise.allSettled(asked);
    this.collections = collections.value?.items ?? [];
    this.usages = usages.value?.items ?? [];
    this.show();
  }

  async refreshUsage() {
    const usages = await api("GET", "api/usage").catch(() => null);
    if (usages) this.usages = usages.items;
    this.showUsage();
  }

  policyOf(name) {
    return this.collections.find((collection) => collection.name === name) ?? null;
  }

  show() {
    const now = query.current();
    byId("nav-places").replaceChildren(...PLACES.map(([label, glyph, changes]) => {
      const here = now.trash === changes.trash && (now.trash || !now.collection);
      return entry(label, glyph, { ...changes, collection: "" }, here);
    }));
    const several = this.collections.length > 1;
    byId("nav-collections").hidden = byId("nav-collections-title").hidden = !several;
    byId("nav-collections").replaceChildren(...this.collections.map(({ name }) => (
      entry(name, "folder", { collection: name }, !now.trash && now.collection === name)
    )));
    this.showUsage();
  }

  showUsage() {
    const holder = byId("usage");
    const chosen = query.current().collection;
    const counted = this.usages.filter((usage) => !chosen || usage.collection === chosen);
    const sum = (field) => counted.reduce((total, usage) => total + usage[field], 0);
    const limit = chosen ? this.policyOf(chosen)?.max_bytes : null;
    holder.hidden = false;
    const binned = sum("trashed_files");
    const whose = current().auth_mode === "open" ? "" : " of yours";
    const text = limit ? `${bytes(sum("bytes"))} of ${bytes(limit)}` : bytes(sum("bytes"));
    const parts = [h("p", { class: "usage-size" }, text), h("p", { class: "usage-count" }, `${count(sum("files") - binned, "file", "files")}${whose}${chosen ? ` in ${chosen}` : ""}${binned ? `, ${number(binned)} in the trash` : ""}`)];
    if (limit) parts.splice(1, 0, h("meter", { min: 0, max: limit, value: sum("bytes"), "aria-label": `${text} used` }));
    holder.replaceChildren(...parts);
  }

  follow(event) {
    const link = event.target.closest("a[data-changes]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    query.change(JSON.parse(link.dataset.changes));
    this.toggle(false);
  }

  /** Open or close the places where they stand over the page. */
  toggle(open = this.opener.getAttribute("aria-expanded") !== "true") {
    const was = this.opener.getAttribute("aria-expanded") === "true";
    if (open === was) return;
    this.opener.setAttribute("aria-expanded", String(open));
    document.body.classList.toggle("nav-open", open);
    this.shade.hidden = !open;
    byId("main").inert = open;
    if (open) this.element.querySelector("a")?.focus();
    else this.opener.focus();
  }
}

function entry(label, glyph, changes, here) {
  const to = { q: "", type: "", trash: false, ...changes };
  const link = h("a", { href: query.href(to), "aria-current": here ? "page" : null, data: { changes: JSON.stringify(to) } }, icon(glyph), h("span", {}, label));
  return h("li", {}, link);
}

/** Fill the choices of types and orders, and keep them in step with what is shown. */
export function startControls() {
  const type = byId("type");
  const sort = byId("sort");
  const search = byId("search");
  type.append(...FILTERS.map(([value, label]) => h("option", { value }, label)));
  sort.append(...query.SORTS.map(([value, label]) => h("option", { value }, label)));
  type.addEventListener("change", () => query.change({ type: type.value }));
  sort.addEventListener("change", () => query.change({ sort: sort.value }));
  const show = () => {
    const now = query.current();
    if (![...type.options].some((option) => option.value === now.type)) type.append(h("option", { value: now.type }, now.type));
    type.value = now.type;
    sort.value = now.sort;
    if (document.activeElement !== search) search.value = now.q;
    setText(byId("title"), now.trash ? "Trash" : now.collection || "All files");
    document.title = `${byId("title").textContent} · Holdall`;
  };
  query.onQuery(show);
  show();
}
