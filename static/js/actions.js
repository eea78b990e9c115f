// What can be done with files: each act asks the API, tells what came of it, and mends the list.

import { address, api, bytesOf, shareable, withQuery } from "./api.js";
import { announce, h } from "./dom.js";
import { confirm, copy, openLinkDialog } from "./dialogs.js";
import { explain } from "./explain.js";
import { count, splitName } from "./format.js";
import { may } from "./session.js";
import { toast } from "./toasts.js";

/** Most ids of one request of the API. */
const AT_ONCE = 1000;
/** Most ids in the address of an archive: servers and proxies take about 8,000 characters. */
const IN_ADDRESS = 280;

export class Actions {
  constructor(list, selection, { changed }) {
    Object.assign(this, { list, selection, changed });
    this.taken = [];
  }

  copyLink(file) {
    return copy(shareable(file.url), `Link to ${short(file.filename)} copied.`);
  }

  signedLink(file) {
    openLinkDialog(file);
  }

  download(file) {
    follow(bytesOf(file, { download: 1 }), file.filename);
  }

  /** Download one file as it is, several as a zip. */
  downloadAll(files) {
    if (files.length === 1) return this.download(files[0]);
    if (files.length > IN_ADDRESS) return void toast(`A zip can hold ${IN_ADDRESS} files chosen one by one. Select fewer, or download a collection.`, { bad: true });
    const ids = files.map((file) => file.id).join(",");
    follow(address(withQuery("api/archive", { ids })), "files.zip");
  }

  /** Put files into the trash, and offer to take them back. */
  async trash(files) {
    if (!files.length || !may("delete")) return void (files.length && toast("Your key may not delete.", { bad: true }));
    const ids = files.map((file) => file.id);
    const next = Math.max(0, Math.min(...ids.map((id) => this.list.indexOf(id))));
    const done = await this.each("api/files/trash", ids);
    if (!done) return;
    this.taken.push(ids);
    this.list.remove(ids);
    this.changed({ focus: next });
    const what = files.length === 1 ? short(files[0].filename) : count(files.length, "file", "files");
    toast(`${what} moved to the trash.`, { action: "Undo", act: () => this.undo(ids) });
  }

  /** Take back what was put into the trash: last, unless `ids` says what. */
  async undo(ids = this.taken.at(-1)) {
    if (!ids) return;
    this.taken = this.taken.filter((each) => each !== ids);
    if (!(await this.each("api/files/restore", ids))) return;
    announce(`${count(ids.length, "file", "files")} restored.`);
    await this.list.reload();
    this.changed({ focusId: ids[0] });
  }

  async restore(files) {
    const ids = files.map((file) => file.id);
    if (!ids.length || !(await this.each("api/files/restore", ids))) return;
    const next = Math.max(0, Math.min(...ids.map((id) => this.list.indexOf(id))));
    this.list.remove(ids);
    this.changed({ focus: next });
    toast(`${files.length === 1 ? short(files[0].filename) : count(ids.length, "file", "files")} restored.`);
  }

  async deleteForGood(files) {
    if (!files.length) return;
    const what = files.length === 1 ? `“${files[0].filename}”` : count(files.length, "file", "files");
    if (!(await confirm("Delete for good?", `${what} will be gone, and links to it will lead nowhere. This can't be undone.`, "Delete for good"))) return;
    const ids = files.map((file) => file.id);
    if (!(await this.each("api/files/delete", ids))) return;
    this.list.remove(ids);
    this.changed({});
    toast(`${files.length === 1 ? short(files[0].filename) : what} deleted for good.`);
  }

  /** Ask for all ids, a thousand at a time; says what went wrong, and returns whether it went well. */
  async each(path, ids) {
    try {
      for (let start = 0; start < ids.length; start += AT_ONCE) {
        await api("POST", path, { json: { ids: ids.slice(start, start + AT_ONCE) } });
      }
      return true;
    } catch (error) {
      toast(explain(error), { bad: true });
      if (ids.length > AT_ONCE) this.list.reload();
      return false;
    }
  }

  /** Have the name in `element` edited in place: Enter keeps it, Escape leaves it as it was. */
  rename(file, element) {
    const name = element?.querySelector(".file-name");
    if (!name || element.querySelector(".rename")) return;
    const input = h("input", { class: "rename", value: file.filename, "aria-label": `New name of ${file.filename}`, maxlength: 255, spellcheck: "false", autocomplete: "off" });
    let over = false;
    const end = (focus) => {
      over = true;
      input.replaceWith(name);
      if (focus) element.focus({ preventScroll: true });
    };
    const keep = async (focus) => {
      const filename = input.value.trim();
      if (over || input.readOnly) return;
      if (!filename || filename === file.filename) return end(focus);
      input.readOnly = true;
      try {
        const renamed = await api("PATCH", `api/files/${file.id}`, { json: { filename } });
        end(focus);
        this.list.replace(renamed);
        announce(`Renamed to ${renamed.filename}.`);
        if (focus) this.changed({ focusId: file.id });
      } catch (error) {
        input.readOnly = false;
        input.setAttribute("aria-invalid", "true");
        toast(explain(error), { bad: true });
        if (!focus) end(false);
        else input.focus();
      }
    };
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") keep(true);
      if (event.key === "Escape") end(true);
    });
    input.addEventListener("input", () => input.removeAttribute("aria-invalid"));
    input.addEventListener("blur", () => keep(false));
    name.replaceWith(input);
    input.focus();
    input.setSelectionRange(0, splitName(file.filename)[0].length);
  }

  /** Return the entries of a file's menu. */
  entries(file, { trash, open, element }) {
    if (trash) {
      return [
        { label: "Restore", glyph: "restore", act: () => this.restore([file]) },
        { label: "Delete for good", glyph: "trash", bad: true, act: () => this.deleteForGood([file]) },
      ];
    }
    return [
      { label: "Open", glyph: "eye", act: () => open(file) },
      { label: "Download", glyph: "download", href: bytesOf(file, { download: 1 }), download: file.filename },
      null,
      { label: "Copy link", glyph: "link", act: () => this.copyLink(file) },
      { label: "Signed link…", glyph: "clock", act: () => this.signedLink(file) },
      ...(may("write") ? [{ label: "Rename", glyph: "pen", act: () => this.rename(file, element()) }] : []),
      ...(may("delete") ? [null, { label: "Delete", glyph: "trash", bad: true, act: () => this.trash([file]) }] : []),
    ];
  }
}

/** Follow a link that saves a file. */
function follow(href, download) {
  const link = h("a", { href, download, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
}

/** Shorten a name for a message, keeping its extension. */
function short(filename) {
  const [stem, extension] = splitName(filename);
  return stem.length > 32 ? `“${stem.slice(0, 30)}…${extension}”` : `“${filename}”`;
}
