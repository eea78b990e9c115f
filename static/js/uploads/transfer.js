// One file on its way: sends, asks where it was after a failure, waits longer each time, goes on.
//
//   waiting ─▸ sending ─▸ done         lost: the file can't be read; choose it again
//      ▴         │  ▴                  refused: by a rule, before a byte was sent
//    paused ◂────┤  │                  failed: by the service, for good
//                ▾  │
//             retrying

import { ApiError, api, signedOut } from "../api.js";
import { explainUpload } from "../explain.js";
import * as session from "../session.js";
import { isReadable } from "./journal.js";
import * as tus from "./tus.js";

/** Bytes that go along with the first request: enough for a refusal, which then arrives whole. */
const FIRST = 64 * 1024;
/** A file up to this size goes in one request. */
const AT_ONCE = 1024 * 1024;
/** Bytes of a further request: proxies cap them, and some count nothing until one is through. */
const CHUNK = 64 * 1024 * 1024;
const LONGEST_WAIT = 20_000;
const TRANSIENT = new Set([0, 408, 409, 423, 425, 429, 500, 502, 503, 504]);
/** Attempts after which an answer that says "our fault" is believed to last. */
const MOST_FAULTS = 8;

export class Transfer extends EventTarget {
  /** `record` is what the journal keeps; `file` is null where it has to be chosen again. */
  constructor(record, file, { policyOf }) {
    super();
    Object.assign(this, { record, file, policyOf });
    this.state = record.paused ? "paused" : "waiting";
    this.sent = 0;
    this.offset = 0;
    this.unsure = Boolean(record.remote);
    this.reason = "";
    this.speed = 0;
    this.kept = false;
    this.made = null;
    this.retryAt = 0;
    if (!file) this.lose();
  }

  get id() { return this.record.id; }
  get name() { return this.record.name; }
  get size() { return this.record.size; }
  get active() { return this.state === "sending" || this.state === "retrying"; }
  get over() { return this.state === "done"; }
  get stuck() { return ["refused", "failed", "lost"].includes(this.state); }

  set(state, reason = "") {
    this.state = state;
    this.reason = reason;
    if (!this.active) this.speed = 0;
    this.dispatchEvent(new Event("change"));
  }

  lose() {
    this.file = null;
    this.set("lost", this.record.remote
      ? "The file can't be read any more. Choose it again, and it goes on from where it was."
      : "The file can't be read any more. Choose it again.");
  }

  /** Take the same file, chosen again; returns whether it is the same. */
  takeAgain(file) {
    const { size, lastModified } = this.record;
    if (file.size !== size || (lastModified && file.lastModified !== lastModified)) return false;
    this.file = file;
    this.unsure = Boolean(this.record.remote);
    this.set("waiting");
    return true;
  }

  /** Send until it is done, or until something stands in the way. */
  async run() {
    this.abort = new AbortController();
    const { signal } = this.abort;
    let failures = 0;
    this.set("sending");
    while (this.active) {
      const before = this.offset;
      try {
        await this.step(signal);
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        failures = this.offset > before || this.moved ? 1 : failures + 1;
        this.moved = false;
        if (!(await this.endure(error, failures, signal))) return;
      }
    }
  }

  async step(signal) {
    if (this.unsure) return this.askWhere(signal);
    if (!this.record.remote) return this.begin(signal);
    const stop = Math.min(this.size, this.offset + CHUNK);
    const body = this.file.slice(this.offset, stop);
    this.unsure = true;
    const { offset, file } = await tus.append(this.record.remote, this.offset, body, { signal, onsent: (sent) => this.progress(sent) });
    this.unsure = false;
    return this.arrived(offset, file);
  }

  async begin(signal) {
    const { name, type, collection, path } = this.record;
    const body = this.size ? this.file.slice(0, this.size <= AT_ONCE ? this.size : FIRST) : null;
    const metadata = { filename: name, filetype: type, collection, relativePath: path };
    const { id, offset, file } = await tus.create(this.size, metadata, body, { signal, onsent: (sent) => this.progress(sent) });
    this.record.remote = id;
    this.dispatchEvent(new Event("begun"));
    return this.arrived(offset, file);
  }

  async askWhere(signal) {
    const { offset, fileId } = await tus.ask(this.record.remote, { signal });
    this.unsure = false;
    this.offset = this.sent = offset;
    if (this.state === "retrying") this.set("sending");
    if (fileId) this.finish(await api("GET", `api/files/${fileId}`));
    else if (offset >= this.size && this.size) throw new ApiError(503, "unfinished", "");
  }

  arrived(offset, file) {
    this.offset = this.sent = offset;
    if (this.state === "retrying") this.set("sending");
    if (file) this.finish(file);
    else if (offset >= this.size) this.unsure = true;
  }

  finish(file) {
    this.made = file;
    this.sent = this.offset = this.size;
    this.set("done");
  }

  progress(sent) {
    this.moved = true;
    this.sent = Math.min(this.size, this.offset + sent);
    if (this.state === "retrying") this.set("sending");
  }

  /** Say whether to go on after an error; waits before it says so. */
  async endure(error, failures, signal) {
    this.sent = this.offset;
    if (error.status === 0 && !(await isReadable(this.file))) {
      if (!signal.aborted) this.lose();
      return false;
    }
    if (error.code === "csrf_failed" && failures < 3) {
      await session.load().catch(() => {});
      return !signal.aborted;
    }
    if (signal.aborted) return false;
    const lasting = !TRANSIENT.has(error.status) || (error.status === 500 && failures > MOST_FAULTS);
    if (lasting) {
      this.giveUp(error);
      return false;
    }
    this.unsure = Boolean(this.record.remote);
    await this.wait(error, failures, signal);
    return !signal.aborted;
  }

  giveUp(error) {
    const forgotten = [404, 410, 413, 415].includes(error.status);
    if (forgotten) this.record.remote = null;
    this.unsure = Boolean(this.record.remote);
    if (forgotten) this.offset = this.sent = 0;
    this.code = error.code;
    const policy = this.policyOf(this.record.collection);
    this.set("failed", explainUpload(error, { policy, maxSize: session.current().max_upload_size }));
    if (error.status === 401) signedOut();
  }

  /** Wait before the next attempt: longer each time, shorter when the network comes back. */
  async wait(error, failures, signal) {
    const backOff = Math.min(LONGEST_WAIT, 500 * 2 ** (failures - 1)) * (0.75 + Math.random() / 2);
    const delay = error.retryAfter ? Math.min(LONGEST_WAIT, error.retryAfter * 1000) : backOff;
    this.retryAt = Date.now() + delay;
    const reason = { 0: "No connection.", 423: "In use elsewhere.", 503: "The service is not ready.", 429: "Too many requests." }[error.status];
    this.set("retrying", reason ?? "Interrupted.");
    await new Promise((resolve) => {
      const go = () => {
        clearTimeout(timer);
        removeEventListener("online", go);
        signal.removeEventListener("abort", go);
        resolve();
      };
      const timer = setTimeout(go, delay);
      this.goNow = go;
      addEventListener("online", go);
      signal.addEventListener("abort", go);
    });
  }

  pause() {
    if (this.over || this.stuck) return;
    this.abort?.abort();
    this.unsure = Boolean(this.record.remote);
    this.record.paused = true;
    this.set("paused");
  }

  /** Go on: from a pause, a failure, or a wait, which ends at once. */
  resume() {
    if (this.state === "retrying") return void this.goNow?.();
    if (this.over || this.active || !this.file) return;
    this.record.paused = false;
    this.set("waiting");
  }

  /** Give it up; the service drops what it has. */
  async cancel() {
    this.abort?.abort();
    this.set("failed", "");
    if (this.record.remote) await tus.end(this.record.remote).catch(() => {});
  }
}
