// Remembers unfinished uploads, and their files where they are not huge, for the next visit.

const NAME = "holdall";
/** A browser copies what is put here: of larger files only the name is kept. */
const LARGEST = 1024 ** 3;

let opened = null;

/** Remember an upload; `file` is kept too where the browser has room. Returns whether it is. */
export async function remember(record, file) {
  try {
    await write("uploads", (store) => store.put(record));
    if (!file || file.size > LARGEST || !(await hasRoom(file.size))) return false;
    await write("files", (store) => store.put(file, record.id));
    return true;
  } catch {
    return false; // private windows and full disks remember nothing
  }
}

export async function update(record) {
  await write("uploads", (store) => store.put(record)).catch(() => {});
}

export async function forget(id) {
  await write("uploads", (store) => store.delete(id)).catch(() => {});
  await write("files", (store) => store.delete(id)).catch(() => {});
}

/** Return what is remembered of `owner`, oldest first, as `[record, file or null]`. */
export async function remembered(owner) {
  try {
    const records = await read("uploads", (store) => store.getAll());
    const own = records.filter((record) => record.owner === owner).sort((one, other) => one.added - other.added);
    return await Promise.all(own.map(async (record) => [record, await read("files", (store) => store.get(record.id)) ?? null]));
  } catch {
    return [];
  }
}

/** Say whether a file's bytes can be read still: it may have been moved, changed or deleted. */
export async function isReadable(file) {
  if (!file) return false;
  if (file.size === 0) return true;
  try {
    await file.slice(0, 1).arrayBuffer();
    await file.slice(file.size - 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

async function hasRoom(size) {
  const { quota, usage } = (await navigator.storage?.estimate?.()) ?? {};
  return quota === undefined || quota - usage > size * 1.2;
}

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("uploads", { keyPath: "id" });
      request.result.createObjectStore("files");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function write(name, change) {
  const transaction = (await open()).transaction(name, "readwrite");
  change(transaction.objectStore(name));
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

async function read(name, ask) {
  const request = ask((await open()).transaction(name).objectStore(name));
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
