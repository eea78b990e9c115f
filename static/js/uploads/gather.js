// Collects files from what is dropped, pasted or chosen, folders with all that is in them.

const ENTRIES_AT_ONCE = 20_000;

/** Return `{file, path}` for a drop. Must be called while the event is handled: it empties after. */
export async function fromDrop(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = [];
  for (const entry of entries) {
    if (entry instanceof File) found.push({ file: entry, path: "" });
    else if (entry) await walk(entry, found);
  }
  return found;
}

/** Return `{file, path}` for what an input has. */
export function fromInput(input) {
  return [...input.files].map((file) => ({ file, path: file.webkitRelativePath ?? "" }));
}

/** Return `{file, path}` for a paste; a picture without a name of its own gets one. */
export function fromPaste(clipboard, now = new Date()) {
  const stamp = now.toISOString().slice(0, 19).replace("T", " ").replaceAll(":", ".");
  return [...clipboard.files].map((file) => {
    const unnamed = /^image\.\w+$/.test(file.name);
    const name = unnamed ? `Pasted ${stamp}.${file.name.split(".")[1]}` : file.name;
    return { file: unnamed ? new File([file], name, { type: file.type, lastModified: file.lastModified }) : file, path: "" };
  });
}

async function walk(entry, found) {
  if (found.length >= ENTRIES_AT_ONCE) return;
  if (entry.isFile) {
    const file = await new Promise((resolve) => { entry.file(resolve, () => resolve(null)); });
    const path = entry.fullPath.replace(/^\//, "");
    if (file) found.push({ file, path: path.includes("/") ? path : "" });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // A reader gives a hundred at a time, and none at the end.
    const some = await new Promise((resolve) => { reader.readEntries(resolve, () => resolve([])); });
    if (!some.length) return;
    for (const each of some) await walk(each, found);
  }
}
