// The files that the API lists for one query: pages are fetched as they are asked for, in order.

import { api, withQuery } from "./api.js";

const FIRST_PAGE = 60;
const PAGE = 200;
const LARGEST_PAGE = 1000;

export class FileList extends EventTarget {
  constructor() {
    super();
    this.reset({});
  }

  reset(parameters) {
    this.abort?.abort();
    this.abort = new AbortController();
    this.parameters = parameters;
    this.items = [];
    this.places = new Map();
    this.total = 0;
    this.exact = true;
    this.cursor = null;
    this.started = false;
    this.finished = false;
    this.error = null;
    this.wanted = 0;
    this.loading = null;
  }

  /** Begin anew with `parameters` of the API; what is under way for the last ones is given up. */
  open(parameters) {
    this.reset(parameters);
    this.tell("open");
    return this.want(0);
  }

  /** Begin anew and keep showing the old files until the first page is there. */
  async reload() {
    const { parameters } = this;
    const fresh = new FileList();
    fresh.parameters = parameters;
    const abort = this.abort;
    await fresh.want(Math.min(this.items.length, LARGEST_PAGE) - 1);
    if (this.abort !== abort || fresh.error) return;
    this.reset(parameters);
    const { items, total, exact, cursor, finished } = fresh;
    Object.assign(this, { items, total, exact, cursor, finished, started: true, places: fresh.places });
    this.tell("change");
  }

  /** How many rows to make room for: all that there are, as far as that is known. */
  get length() {
    return this.finished ? this.items.length : Math.max(this.total, this.items.length);
  }

  indexOf(id) {
    return this.places.get(id) ?? -1;
  }

  byId(id) {
    return this.items[this.indexOf(id)] ?? null;
  }

  /** Fetch pages until the file at `index` is there. */
  want(index) {
    this.wanted = Math.max(this.wanted, index + 1);
    this.loading ??= this.fetchPages(this.abort);
    return this.loading;
  }

  async fetchPages(abort) {
    while (!this.finished && !this.error && (!this.started || this.items.length < this.wanted)) {
      await this.fetchPage(abort);
      if (abort.signal.aborted) return;
    }
    this.loading = null;
  }

  async fetchPage(abort) {
    const missing = this.wanted - this.items.length;
    const limit = !this.started && missing <= FIRST_PAGE ? FIRST_PAGE : missing > PAGE ? LARGEST_PAGE : PAGE;
    try {
      const path = withQuery("api/files", { ...this.parameters, limit, cursor: this.cursor });
      const page = await api("GET", path, { signal: abort.signal });
      if (abort.signal.aborted) return;
      this.take(page);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.error = error;
    }
    this.tell("change");
  }

  take(page) {
    for (const item of page.items) {
      if (this.places.has(item.id)) continue;
      this.places.set(item.id, this.items.length);
      this.items.push(item);
    }
    this.total = page.total;
    this.exact = page.total_exact;
    this.cursor = page.next_cursor;
    this.finished = page.next_cursor === null;
    this.started = true;
  }

  retry() {
    this.error = null;
    this.tell("change");
    return this.want(this.wanted - 1);
  }

  /** Put a new file first; for lists of the newest. */
  prepend(file) {
    if (this.places.has(file.id) || !this.started) return;
    this.items.unshift(file);
    this.places.set(file.id, 0);
    this.total += 1;
    // Files come many at a time: they are shown once a frame.
    this.asked ??= requestAnimationFrame(() => {
      this.asked = undefined;
      this.reindex();
    });
  }

  replace(file) {
    const index = this.indexOf(file.id);
    if (index < 0) return;
    this.items[index] = file;
    this.tell("replace", index);
  }

  remove(ids) {
    const gone = new Set(ids);
    const before = this.items.length;
    this.items = this.items.filter((item) => !gone.has(item.id));
    this.total = Math.max(this.items.length, this.total - (before - this.items.length));
    this.reindex();
  }

  reindex() {
    this.places = new Map(this.items.map((item, index) => [item.id, index]));
    this.tell("change");
  }

  tell(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
