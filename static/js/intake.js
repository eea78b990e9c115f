// The ways in: the button, drops of files and folders, pastes; and what is known of the rules.

import { api } from "./api.js";
import { byId, isTyping, setText } from "./dom.js";
import { openMenu } from "./menu.js";
import * as query from "./query.js";
import * as session from "./session.js";
import { toast } from "./toasts.js";
import { fromDrop, fromInput, fromPaste } from "./uploads/gather.js";
import { refusal } from "./uploads/policy.js";

/** Usage of collections that bound it, asked for shortly before files go there. */
const used = new Map();

/** Return where files go that are uploaded now: the collection that is shown, or the key's own. */
export function destination() {
  return query.current().collection || session.current().collection || "";
}

/** Say why a file would not be taken, "" when nothing is known against it. */
export function refusalOf(nav, queue, { file, collection }) {
  const name = collection || "default";
  const policy = nav.policyOf(name);
  const pending = !policy?.max_bytes ? 0 : queue.transfers
    .filter((other) => (other.record.collection || "default") === name && !other.over && !other.stuck && other.file !== file)
    .reduce((total, other) => total + (other.record.remote ? 0 : other.size), 0);
  return refusal(file, { policy, used: used.get(name) ?? null, pending, maxSize: session.current().max_upload_size });
}

async function learnUsage(nav, collection) {
  const name = collection || "default";
  const policy = nav.policyOf(name);
  if (!policy?.max_bytes && !policy?.max_files) return;
  try {
    used.set(name, await api("GET", `api/collections/${name}/usage`));
  } catch {
    // Only those who administer it are told; the service itself refuses what has no room.
    used.delete(name);
  }
}

export function startIntake(nav, queue) {
  const button = byId("upload");
  const files = byId("pick-files");
  const folder = byId("pick-folder");

  async function take(entries) {
    if (!entries.length) return;
    if (query.current().trash) query.change({ trash: false });
    const collection = destination();
    await learnUsage(nav, collection);
    queue.add(entries, collection);
  }

  for (const input of [files, folder]) {
    input.addEventListener("change", () => {
      const entries = fromInput(input);
      input.value = "";
      take(entries);
    });
  }
  button.addEventListener("click", () => openMenu(button, [
    { label: "Files…", glyph: "file", act: () => files.click() },
    { label: "A folder…", glyph: "folder", act: () => folder.click() },
  ], { label: "Upload" }));

  document.addEventListener("paste", (event) => {
    if (isTyping(event.target) || !ready()) return;
    const entries = fromPaste(event.clipboardData);
    if (entries.length) event.preventDefault();
    take(entries);
  });
  startDrops(take);
}

function ready() {
  return !byId("app").hidden && session.may("write") && !document.querySelector("dialog[open]");
}

function startDrops(take) {
  const veil = byId("drop");
  let depth = 0;
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const show = (on) => {
    depth = on ? depth : 0;
    veil.hidden = !on;
    if (on) setText(byId("drop-text"), destination() ? `Drop to upload to “${destination()}”` : "Drop to upload");
  };
  addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth += 1;
    if (ready()) show(true);
  });
  addEventListener("dragleave", (event) => {
    if (!hasFiles(event)) return;
    depth -= 1;
    if (depth <= 0) show(false);
  });
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = ready() ? "copy" : "none";
  });
  addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    show(false);
    if (!ready()) return;
    const entries = await fromDrop(event.dataTransfer);
    if (entries.length) take(entries);
    else toast("There are no files in that.");
  });
}
