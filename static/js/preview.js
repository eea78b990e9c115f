// Shows one file after another: pictures, video, sound, PDF and text. Whatever a file holds, it is
// shown by an element that runs nothing of it; the service's own headers see to the same.

import { bytesOf } from "./api.js";
import { button, h, icon, iconButton, isTyping, setText } from "./dom.js";
import { bytes, fullMoment } from "./format.js";
import { iconOf, typeName, viewerOf } from "./kinds.js";

/** Bytes of a text that are fetched. */
const MOST_TEXT = 256 * 1024;

/** Show the file at `index` of `list`; `acts` are copyLink, download and trash. */
export function openPreview(list, index, acts, onclose) {
  let at = index;
  let file = null;
  let ended = new AbortController();
  const opener = document.activeElement;

  const title = h("h2", { id: "preview-title" });
  const facts = h("p", { class: "facts" });
  const place = h("p", { class: "quiet", "aria-live": "polite" });
  const stage = h("div", { class: "stage" });
  const before = iconButton("left", "Previous file", () => go(-1), { class: "icon-button step before" });
  const after = iconButton("right", "Next file", () => go(1), { class: "icon-button step after" });
  const tools = h("div", { class: "tools" });
  const dialog = h("dialog", { class: "preview", "aria-labelledby": "preview-title" },
    h("header", { class: "preview-head" }, h("div", { class: "preview-name" }, title, facts), tools),
    h("div", { class: "preview-body" }, before, stage, after), place);
  tools.append(
    iconButton("link", "Copy link", () => acts.copyLink(file)),
    iconButton("download", "Download", () => acts.download(file)),
    iconButton("close", "Close", () => dialog.close()),
  );

  async function go(by) {
    const to = at + by;
    if (to < 0) return;
    await list.want(to);
    if (to >= list.items.length) return;
    at = to;
    show();
  }

  function show() {
    ended.abort();
    ended = new AbortController();
    stop(stage);
    file = list.items[at];
    setText(title, file.filename);
    setText(facts, `${typeName(file.content_type)} · ${bytes(file.size)} · ${fullMoment(file.created_at)}`);
    setText(place, `${file.filename}, ${at + 1} of ${list.length}`);
    before.disabled = at === 0;
    after.disabled = at + 1 >= list.length;
    const viewer = viewerOf(file.content_type);
    stage.dataset.viewer = viewer ?? "none";
    stage.replaceChildren(viewer ? VIEWERS[viewer](file, ended.signal, cannot) : nothing(file));
    list.want(at + 2);
  }

  function cannot(reason) {
    stage.dataset.viewer = "none";
    stage.replaceChildren(nothing(file, reason));
  }

  function nothing(of, reason = "This kind of file isn't shown here.") {
    return h("div", { class: "no-view" }, icon(iconOf(of.content_type), "large"), h("p", {}, reason),
      button("Download", () => acts.download(of), { glyph: "download", kind: "primary" }));
  }

  dialog.addEventListener("keydown", (event) => {
    if (isTyping(event.target) || event.target.matches("video, audio, .text-view") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") go(-1);
    if (event.key === "ArrowRight") go(1);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target === stage) dialog.close();
  });
  dialog.addEventListener("close", () => {
    ended.abort();
    stop(stage);
    dialog.remove();
    if (opener?.isConnected) opener.focus({ preventScroll: true });
    onclose(at);
  });
  document.body.append(dialog);
  dialog.showModal();
  show();
  tools.lastElementChild.focus();
}

const VIEWERS = {
  image(file, signal, cannot) {
    const image = h("img", { class: "image-view", alt: file.filename, src: bytesOf(file) });
    image.classList.add("waiting");
    image.addEventListener("load", () => image.classList.remove("waiting"));
    image.addEventListener("error", () => signal.aborted || cannot("This picture can't be shown."));
    return image;
  },

  video(file, signal, cannot) {
    const video = h("video", { class: "video-view", controls: true, preload: "metadata", playsinline: true, src: bytesOf(file), "aria-label": file.filename });
    video.addEventListener("error", () => signal.aborted || cannot("Your browser can't play this video."));
    return video;
  },

  audio(file, signal, cannot) {
    const audio = h("audio", { controls: true, preload: "metadata", src: bytesOf(file), "aria-label": file.filename });
    audio.addEventListener("error", () => signal.aborted || cannot("Your browser can't play this sound."));
    return h("div", { class: "audio-view" }, icon("audio", "large"), audio);
  },

  pdf(file) {
    // The answer's own policy is a sandbox without scripts; the attribute would keep PDF out whole.
    return h("iframe", { class: "pdf-view", src: bytesOf(file), title: file.filename });
  },

  text(file, signal, cannot) {
    const view = h("pre", { class: "text-view", tabindex: 0, role: "region", "aria-label": `Text of ${file.filename}` });
    const holder = h("div", { class: "text-holder" }, view);
    view.append(h("span", { class: "bone line" }), h("span", { class: "bone line w1" }), h("span", { class: "bone line w2" }));
    readText(file, signal).then(
      (text) => {
        view.textContent = text;
        if (file.size > MOST_TEXT) holder.append(h("p", { class: "hint" }, `The first ${bytes(MOST_TEXT)} of ${bytes(file.size)}.`));
      },
      () => signal.aborted || cannot("This text can't be read at the moment."),
    );
    return holder;
  },
};

async function readText(file, signal) {
  if (file.size === 0) return "";
  const headers = file.size > MOST_TEXT ? { Range: `bytes=0-${MOST_TEXT - 1}` } : {};
  const response = await fetch(bytesOf(file), { headers, signal, credentials: "same-origin" });
  if (!response.ok) throw new Error(String(response.status));
  const content = (await response.arrayBuffer()).slice(0, MOST_TEXT);
  const marks = new Uint8Array(content, 0, Math.min(2, content.byteLength));
  const wide = { "255,254": "utf-16le", "254,255": "utf-16be" }[marks.join()];
  return new TextDecoder(wide ?? "utf-8").decode(content);
}

/** End what is played or fetched for an element that goes. */
function stop(stage) {
  for (const player of stage.querySelectorAll("video, audio")) {
    player.pause();
    player.removeAttribute("src");
    player.load();
  }
}
