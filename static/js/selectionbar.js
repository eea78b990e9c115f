// The bar of what can be done with the files that are selected.

import { button, byId, h, iconButton, setText } from "./dom.js";
import { bytes, count } from "./format.js";
import * as query from "./query.js";
import { may } from "./session.js";

export function startSelectionBar(selection, actions) {
  const bar = byId("selection");
  const told = h("p", { class: "selected-count", role: "status" });
  const clear = iconButton("close", "Clear the selection", () => selection.clear());

  const tools = (trash) => trash
    ? [
      button("Restore", () => actions.restore(selection.files()), { glyph: "restore" }),
      button("Delete for good", () => actions.deleteForGood(selection.files()), { glyph: "trash", kind: "danger" }),
    ]
    : [
      button("Download", () => actions.downloadAll(selection.files()), { glyph: "download" }),
      ...(may("delete") ? [button("Delete", () => actions.trash(selection.files()), { glyph: "trash" })] : []),
    ];

  const show = () => {
    const files = selection.files();
    const open = files.length > 0;
    if (open && (bar.hidden || bar.dataset.trash !== String(query.current().trash))) {
      bar.dataset.trash = String(query.current().trash);
      bar.replaceChildren(clear, told, h("div", { class: "selection-tools" }, tools(query.current().trash)));
    }
    if (!open && bar.contains(document.activeElement)) byId("files").focus();
    bar.hidden = !open;
    byId("controls").hidden = open;
    bar.parentElement.classList.toggle("selecting", open);
    const size = files.reduce((total, file) => total + file.size, 0);
    setText(told, open ? `${count(files.length, "file", "files")} selected · ${bytes(size)}` : "");
  };
  selection.addEventListener("change", show);
  show();
}
