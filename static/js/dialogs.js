// Modal windows: the browser's own `dialog` keeps the focus inside and gives it back.

import { api, shareable } from "./api.js";
import { button, h, iconButton } from "./dom.js";
import { explain } from "./explain.js";
import { fullMoment } from "./format.js";
import { toast } from "./toasts.js";

let made = 0;

/** Open a modal with a title. Returns the dialog, which is removed when it closes. */
export function openDialog(title, content, { kind = "", onclose = () => {} } = {}) {
  made += 1;
  const id = `dialog-${made}`;
  const opener = document.activeElement;
  const dialog = h("dialog", { class: `dialog ${kind}`.trim(), "aria-labelledby": id });
  dialog.append(
    h("header", { class: "dialog-head" }, h("h2", { id }, title), iconButton("close", "Close", () => dialog.close())),
    ...content,
  );
  dialog.addEventListener("close", () => {
    dialog.remove();
    onclose();
    if (opener?.isConnected) opener.focus({ preventScroll: true });
  });
  dialog.addEventListener("pointerdown", (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Ask before what cannot be undone. Resolves to whether it is wanted. */
export function confirm(title, text, label) {
  return new Promise((resolve) => {
    let wanted = false;
    const yes = () => { wanted = true; dialog.close(); };
    const keep = button("Keep", () => dialog.close());
    const dialog = openDialog(title, [
      h("p", { class: "dialog-text" }, text),
      h("footer", { class: "dialog-foot" }, keep, button(label, yes, { kind: "danger" })),
    ], { kind: "small", onclose: () => resolve(wanted) });
    keep.focus();
  });
}

/** Copy a text; says so, or shows it to be copied by hand. */
export async function copy(text, told) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS there is no clipboard but the old way.
    if (!copiedOldWay(text)) return void showText(text);
  }
  toast(told, { lasts: 4000 });
}

function copiedOldWay(text) {
  const field = h("textarea", { class: "quiet", "aria-hidden": "true", value: text });
  const opener = document.activeElement;
  (opener?.closest("dialog") ?? document.body).append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  opener?.focus({ preventScroll: true });
  return done;
}

function showText(text) {
  const field = h("input", { class: "field", readonly: true, value: text, "aria-label": "Link" });
  openDialog("Copy this link", [h("div", { class: "dialog-body" }, field)], { kind: "small" });
  field.select();
}

const LIVES = [[3600, "1 hour"], [86_400, "1 day"], [604_800, "7 days"], [2_592_000, "30 days"]];

/** Make a signed link to a file, for as long as is chosen. */
export function openLinkDialog(file) {
  const life = h("select", { class: "field", id: "link-life" }, LIVES.map(([value, label]) => h("option", { value }, label)));
  const saved = h("input", { type: "checkbox", class: "box", id: "link-saved" });
  const result = h("div", { class: "link-result", "aria-live": "polite" });
  const make = button("Make the link", () => makeLink(), { kind: "primary", glyph: "link" });
  life.value = "86400";

  async function makeLink() {
    make.disabled = true;
    try {
      const disposition = saved.checked ? "attachment" : "inline";
      const json = { expires_in: Number(life.value), disposition };
      const link = await api("POST", `api/files/${file.id}/link`, { json });
      showLink(shareable(link.url), link.expires_at);
    } catch (error) {
      result.replaceChildren(h("p", { class: "problem" }, explain(error)));
    }
    make.disabled = false;
  }

  function showLink(url, expiresAt) {
    const field = h("input", { class: "field", readonly: true, value: url, "aria-label": "Signed link", onfocus: () => field.select() });
    const button = iconButton("link", "Copy the link", () => copy(url, "Signed link copied."));
    result.replaceChildren(h("div", { class: "joined" }, field, button), h("p", { class: "hint" }, `Works until ${fullMoment(expiresAt)}.`));
    field.focus();
  }

  openDialog("Signed link", [
    h("div", { class: "dialog-body" },
      h("p", { class: "dialog-text" }, "Whoever has it can read ", h("strong", {}, file.filename), ", without a key, until it ends."),
      h("label", { class: "labelled", for: "link-life" }, h("span", {}, "Works for"), life),
      h("label", { class: "checked", for: "link-saved" }, saved, h("span", {}, "Save the file rather than show it")),
      result,
    ),
    h("footer", { class: "dialog-foot" }, make),
  ], { kind: "small" });
  life.focus();
}
