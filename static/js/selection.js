// Which files are selected, and from where a range goes. Pure but for telling of changes.

export class Selection extends EventTarget {
  constructor(list) {
    super();
    this.list = list;
    this.ids = new Set();
    this.anchor = null;
  }

  get size() {
    return this.ids.size;
  }

  has(id) {
    return this.ids.has(id);
  }

  /** Select this file alone. */
  only(id) {
    this.ids = new Set([id]);
    this.anchor = id;
    this.tell();
  }

  toggle(id) {
    if (!this.ids.delete(id)) this.ids.add(id);
    this.anchor = id;
    this.tell();
  }

  /** Select from the file that was chosen last to this one; `adding` keeps what else is selected. */
  extend(id, { adding = false } = {}) {
    const from = Math.max(0, this.list.indexOf(this.anchor ?? id));
    const to = this.list.indexOf(id);
    const [first, last] = from < to ? [from, to] : [to, from];
    const between = this.list.items.slice(first, last + 1).map((item) => item.id);
    this.ids = new Set(adding ? [...this.ids, ...between] : between);
    this.anchor ??= id;
    this.tell();
  }

  all() {
    this.ids = new Set(this.list.items.map((item) => item.id));
    this.tell();
  }

  clear() {
    if (!this.ids.size) return;
    this.ids.clear();
    this.anchor = null;
    this.tell();
  }

  /** Leave out what the list has no more. */
  prune() {
    const kept = [...this.ids].filter((id) => this.list.indexOf(id) >= 0);
    if (kept.length === this.ids.size) return;
    this.ids = new Set(kept);
    this.tell();
  }

  files() {
    return [...this.ids].map((id) => this.list.byId(id)).filter(Boolean);
  }

  tell() {
    this.dispatchEvent(new Event("change"));
  }
}
