// The panel of uploads: what each is doing, all together, and the buttons for it.

import { announce, button, byId, h, icon, iconButton, setText } from "../dom.js";
import { bytes, bytesOf, count, shortSpan, span } from "../format.js";
import { iconOf } from "../kinds.js";
import { VirtualRows } from "../virtual.js";

const ROW = 72;
const ORDER = { lost: 0, failed: 0, refused: 0, sending: 1, retrying: 1, paused: 2, waiting: 3, done: 4 };

export class Panel {
  constructor(queue) {
    this.queue = queue;
    this.shown = [];
    this.updates = new Map();
    this.element = byId("uploads");
    this.title = h("h2", { id: "uploads-title" });
    this.summary = h("p", { class: "uploads-summary" });
    this.bar = progressBar("All uploads");
    this.pauseAll = iconButton("pause", "Pause all", () => queue.pauseAll());
    this.resumeAll = iconButton("play", "Resume all", () => queue.resumeAll());
    this.retryAll = iconButton("restore", "Retry all that failed", () => queue.retryAll());
    this.fold = iconButton("down", "Fold", () => this.toggle(), { "aria-expanded": "true", "aria-controls": "uploads-list", class: "icon-button fold" });
    this.close = iconButton("close", "Clear the list", () => queue.clear());
    this.scroller = h("div", { class: "uploads-list", id: "uploads-list" });
    this.canvas = h("ul", { class: "canvas", "aria-labelledby": "uploads-title" });
    this.scroller.append(this.canvas);
    this.element.append(
      h("header", { class: "uploads-head" }, h("div", { class: "uploads-title" }, this.title, this.summary),
        h("div", { class: "uploads-tools" }, this.pauseAll, this.resumeAll, this.retryAll, this.fold, this.close)),
      this.bar.element, this.scroller);
    this.rows = new VirtualRows(this.scroller, this.canvas, { rowHeight: ROW, draw: (index) => this.draw(this.shown[index]) });
    queue.addEventListener("list", () => this.later());
    queue.addEventListener("state", () => this.later());
    queue.addEventListener("progress", () => this.progress());
    queue.addEventListener("stuck", ({ detail }) => detail.reason && announce(`${detail.name}: ${detail.reason}`, { urgent: true }));
    queue.addEventListener("idle", () => this.ended());
  }

  later() {
    this.asked ??= requestAnimationFrame(() => {
      this.asked = undefined;
      this.arrange();
    });
  }

  /** Put what needs somebody first, and what is done last. */
  arrange() {
    const focus = this.focused();
    this.shown = [...this.queue.transfers].sort((one, other) => ORDER[one.state] - ORDER[other.state] || one.record.added - other.record.added);
    this.element.hidden = !this.shown.length;
    document.body.classList.toggle("with-uploads", this.shown.length > 0);
    this.updates.clear();
    this.rows.clear();
    this.rows.resize(this.shown.length);
    this.progress();
    if (focus) this.refocus(focus);
  }

  focused() {
    const held = document.activeElement?.closest?.("[data-transfer]");
    return held && this.canvas.contains(held) ? { id: held.dataset.transfer, label: document.activeElement.dataset.act } : null;
  }

  refocus({ id, label }) {
    const row = this.canvas.querySelector(`[data-transfer="${CSS.escape(id)}"]`);
    (row?.querySelector(`[data-act="${label}"]`) ?? row?.querySelector("button") ?? this.fold).focus({ preventScroll: true });
  }

  progress() {
    for (const update of this.updates.values()) update();
    const totals = this.queue.totals();
    const { files, done, stuck, running, paused, sent, size, left } = totals;
    this.pauseAll.hidden = !running;
    this.resumeAll.hidden = !paused;
    this.retryAll.hidden = !this.queue.transfers.some((each) => each.state === "failed" && each.file);
    this.close.hidden = running + paused > 0;
    this.bar.set(size ? sent / size : done === files ? 1 : 0, stuck && !running ? "bad" : "");
    setText(this.title, titleOf(totals));
    const speed = running && this.queue.speed ? ` · ${bytes(this.queue.speed)}/s` : "";
    const time = running && left !== null ? ` · ${shortSpan(left)} left` : "";
    setText(this.summary, running || paused ? `${bytesOf(sent, size)}${speed}${time}` : stuck ? `${count(stuck, "file needs", "files need")} a look` : bytes(size));
  }

  ended() {
    const { done, stuck, running, paused } = this.queue.totals();
    if (running || paused || !done) return;
    announce(`${count(done, "file", "files")} uploaded${stuck ? `, ${stuck} not` : ""}.`);
  }

  toggle() {
    const open = this.fold.getAttribute("aria-expanded") !== "true";
    this.fold.setAttribute("aria-expanded", String(open));
    this.fold.setAttribute("aria-label", open ? "Fold" : "Unfold");
    this.scroller.hidden = !open;
    if (open) this.rows.redraw();
  }

  draw(transfer) {
    const bar = progressBar(transfer.name);
    const status = h("p", { class: "upload-status" });
    const tools = h("div", { class: "upload-tools" });
    const row = h("li", { class: "upload", data: { transfer: transfer.id } },
      h("span", { class: "picture" }, icon(iconOf(transfer.record.type || ""))),
      h("div", { class: "upload-text" }, h("p", { class: "upload-name", title: transfer.record.path || transfer.name }, transfer.name), status, bar.element), tools);
    tools.append(...this.toolsOf(transfer));
    const update = () => {
      row.dataset.state = transfer.state;
      bar.element.hidden = transfer.stuck || transfer.over;
      bar.set(transfer.size ? transfer.sent / transfer.size : 0);
      setText(status, statusOf(transfer));
      status.title = transfer.stuck ? transfer.reason : "";
    };
    this.updates.set(transfer.id, update);
    update();
    return row;
  }

  toolsOf(transfer) {
    const { queue } = this;
    const tool = (glyph, label, act) => iconButton(glyph, `${label}: ${transfer.name}`, act, { title: label, data: { act: label } });
    const tools = [];
    if (transfer.over) return [h("span", { class: "tick" }, icon("check"), h("span", { class: "quiet" }, "Done"))];
    if (transfer.active || transfer.state === "waiting") tools.push(tool("pause", "Pause", () => queue.pause(transfer)));
    if (transfer.state === "retrying") tools.push(tool("restore", "Try now", () => queue.resume(transfer)));
    if (transfer.state === "paused") tools.push(tool("play", "Resume", () => queue.resume(transfer)));
    if (transfer.state === "failed") tools.push(tool("restore", "Retry", () => queue.resume(transfer)));
    if (transfer.state === "refused") tools.push(button("Send anyway", () => queue.resume(transfer), { kind: "small", data: { act: "Send anyway" } }));
    if (transfer.state === "lost") tools.push(button("Choose", () => this.chooseAgain(transfer), { kind: "small", data: { act: "Choose" } }));
    tools.push(tool("close", transfer.stuck ? "Dismiss" : "Cancel", () => queue.cancel(transfer)));
    return tools;
  }

  chooseAgain(transfer) {
    const input = byId("pick-again");
    input.onchange = () => {
      const [file] = input.files;
      input.value = "";
      if (!file) return;
      if (transfer.takeAgain(file)) this.queue.keep(transfer);
      else tellMismatch(transfer);
    };
    input.click();
  }
}

function tellMismatch(transfer) {
  transfer.set("lost", `That is another file, or it has changed. Choose ${transfer.name} of ${bytes(transfer.size)}, or upload it anew.`);
}

function titleOf({ files, done, stuck, running, paused }) {
  if (running) return `Uploading, ${done} of ${files} done`;
  if (paused) return `Paused, ${done} of ${files} done`;
  if (stuck) return done ? `${done} of ${files} uploaded` : count(stuck, "upload stopped", "uploads stopped");
  return `${count(done, "file", "files")} uploaded`;
}

function statusOf(transfer) {
  const { state, sent, size, speed, reason, retryAt } = transfer;
  if (transfer.stuck) return reason;
  if (state === "done") return bytes(size);
  if (state === "waiting") return `Waiting · ${bytes(size)}`;
  if (state === "paused") return `Paused · ${bytesOf(sent, size)}`;
  if (state === "retrying") return `${reason} Trying again in ${span(Math.max(0, retryAt - Date.now()) / 1000)}`;
  const left = speed > 0 ? ` · ${shortSpan((size - sent) / speed)} left` : "";
  return `${bytesOf(sent, size)}${speed ? ` · ${bytes(speed)}/s` : ""}${left}`;
}

function progressBar(label) {
  const fill = h("div", { class: "fill" });
  const element = h("div", { class: "progress", role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
  return {
    element,
    set(part, kind = "") {
      const percent = Math.max(0, Math.min(100, Math.floor(part * 100)));
      element.setAttribute("aria-valuenow", String(percent));
      element.dataset.kind = kind;
      fill.style.transform = `scaleX(${Math.min(1, part)})`;
    },
  };
}
