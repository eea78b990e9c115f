// What the list shows, kept in the page's address so that reload, back and bookmarks work.

const DEFAULTS = { q: "", type: "", collection: "", sort: "-created", trash: false };

export const SORTS = [
  ["-created", "Newest"],
  ["created", "Oldest"],
  ["name", "Name, A to Z"],
  ["-name", "Name, Z to A"],
  ["-size", "Largest"],
  ["size", "Smallest"],
];

let query = read();
const listeners = new Set();

export const current = () => query;
export const onQuery = (listener) => listeners.add(listener);

/** Change what is shown. `replace` leaves no step to go back to, as while somebody types. */
export function change(changes, { replace = false } = {}) {
  const changed = { ...query, ...changes };
  if (JSON.stringify(changed) === JSON.stringify(query)) return;
  query = changed;
  const url = new URL(location.href);
  url.search = written();
  history[replace ? "replaceState" : "pushState"](null, "", url);
  tell();
}

/** Return the parameters of `GET /api/files` for what is shown. */
export function parameters() {
  const { q, type, collection, trash } = query;
  const sort = trash ? query.sort.replace("created", "deleted") : query.sort;
  return { q: q.trim(), type, collection, sort, trashed: trash ? "true" : "" };
}

/** Return the address that shows what is shown now, with `changes`. */
export function href(changes) {
  return `./${written({ ...DEFAULTS, ...changes })}`;
}

function written(of = query) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(of)) {
    if (value !== DEFAULTS[name]) search.set(name, value === true ? "1" : value);
  }
  return search.size ? `?${search}` : "";
}

function read() {
  const search = new URLSearchParams(location.search);
  const sort = search.get("sort");
  return {
    q: search.get("q") ?? "",
    type: search.get("type") ?? "",
    collection: search.get("collection") ?? "",
    sort: SORTS.some(([value]) => value === sort) ? sort : DEFAULTS.sort,
    trash: search.has("trash"),
  };
}

function tell() {
  for (const listener of listeners) listener(query);
}

addEventListener("popstate", () => {
  query = read();
  tell();
});
