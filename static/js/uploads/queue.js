// All uploads of the page: a few run at once, the rest wait; adds up how fast and how long.

import * as session from "../session.js";
import * as journal from "./journal.js";
import { Transfer } from "./transfer.js";

const AT_ONCE = 3;
const TICK = 500;
const SMOOTHING = 0.25;

export class Queue extends EventTarget {
  /** `policyOf(name)` gives a collection, `refusal(entry)` why a file would not be taken, or "". */
  constructor({ policyOf, refusal }) {
    super();
    Object.assign(this, { policyOf, refusal });
    this.transfers = [];
    this.speed = 0;
    this.timer = 0;
    this.locks = new Map();
  }

  /** Take `{file, path}` entries for `collection`, "" for the one that the key has by itself. */
  add(entries, collection) {
    const now = Date.now();
    for (const [place, { file, path }] of entries.entries()) {
      const record = {
        id: `${now.toString(36)}-${place}-${Math.random().toString(36).slice(2, 10)}`,
        owner: session.owner(), name: file.name, path, size: file.size, type: file.type,
        lastModified: file.lastModified, collection, remote: null, paused: false, added: now + place / 1e5,
      };
      const transfer = this.enlist(new Transfer(record, file, this));
      const why = this.refusal({ file, collection });
      if (why) transfer.set("refused", why);
      else this.keep(transfer);
    }
    this.tell("list");
    this.pump();
  }

  /** Have the next visit go on with it. */
  async keep(transfer) {
    transfer.kept = await journal.remember(transfer.record, transfer.file);
    if (transfer.over || !this.transfers.includes(transfer)) journal.forget(transfer.id);
    else journal.update(transfer.record);
  }

  /** Go on with what an earlier visit has left, unless another tab has it in hand. */
  async recall() {
    for (const [record, file] of await journal.remembered(session.owner())) {
      if (this.transfers.some((transfer) => transfer.id === record.id) || !(await this.claim(record.id))) continue;
      const readable = await journal.isReadable(file);
      const transfer = this.enlist(new Transfer(record, readable ? file : null, this));
      transfer.kept = readable;
    }
    this.tell("list");
    this.pump();
  }

  /** Hold an upload for this tab until it is closed. Without locks, the service's have to do. */
  claim(id) {
    if (!navigator.locks) return Promise.resolve(true);
    return new Promise((resolve) => {
      navigator.locks.request(`holdall-upload-${id}`, { ifAvailable: true }, (lock) => {
        resolve(Boolean(lock));
        return lock ? new Promise((release) => this.locks.set(id, release)) : null;
      });
    });
  }

  enlist(transfer) {
    if (!this.locks.has(transfer.id)) this.claim(transfer.id);
    this.transfers.push(transfer);
    transfer.addEventListener("begun", () => journal.update(transfer.record));
    transfer.addEventListener("change", () => this.changed(transfer));
    return transfer;
  }

  changed(transfer) {
    if (transfer.over) {
      this.release(transfer);
      this.tell("made", transfer.made);
    }
    if (!this.transfers.includes(transfer)) return;
    if (transfer.stuck) this.tell("stuck", transfer);
    this.tell("state", transfer);
    queueMicrotask(() => this.pump());
  }

  release(transfer) {
    journal.forget(transfer.id);
    this.locks.get(transfer.id)?.();
    this.locks.delete(transfer.id);
  }

  /** Begin what waits, as far as there is a place. */
  pump() {
    let running = this.transfers.filter((transfer) => transfer.active).length;
    for (const transfer of this.transfers) {
      if (running >= AT_ONCE) break;
      if (transfer.state !== "waiting") continue;
      running += 1;
      transfer.run();
    }
    if (running && !this.timer) this.timer = setInterval(() => this.tick(), TICK);
    if (!running && this.timer) {
      clearInterval(this.timer);
      this.timer = 0;
      this.speed = 0;
      this.tell("idle");
    }
  }

  tick() {
    let sum = 0;
    for (const transfer of this.transfers) {
      const gained = Math.max(0, transfer.sent - (transfer.counted ?? transfer.offset));
      transfer.counted = transfer.sent;
      const now = (gained * 1000) / TICK;
      transfer.speed = transfer.speed ? transfer.speed * (1 - SMOOTHING) + now * SMOOTHING : now;
      sum += now;
    }
    this.speed = this.speed ? this.speed * (1 - SMOOTHING) + sum * SMOOTHING : sum;
    this.tell("progress");
  }

  /** Return what the panel shows of all together. Sizes in bytes, `left` in seconds or null. */
  totals() {
    const counted = this.transfers.filter((transfer) => transfer.state !== "refused");
    const sum = (list, field) => list.reduce((total, transfer) => total + transfer[field], 0);
    const size = sum(counted, "size");
    const sent = sum(counted, "sent");
    const running = counted.filter((transfer) => transfer.active || transfer.state === "waiting");
    const open = sum(running, "size") - sum(running, "sent");
    return {
      files: this.transfers.length,
      done: this.transfers.filter((transfer) => transfer.over).length,
      stuck: this.transfers.filter((transfer) => transfer.stuck).length,
      paused: this.transfers.filter((transfer) => transfer.state === "paused").length,
      running: running.length,
      size,
      sent,
      left: this.speed > 0 && open > 0 ? open / this.speed : null,
    };
  }

  pauseAll() {
    for (const transfer of this.transfers.filter((each) => each.active || each.state === "waiting").reverse()) this.pause(transfer);
  }

  pause(transfer) {
    transfer.pause();
    journal.update(transfer.record);
  }

  resume(transfer) {
    transfer.resume();
    if (transfer.kept) journal.update(transfer.record);
    else if (transfer.file) this.keep(transfer);
  }

  resumeAll() {
    for (const transfer of this.transfers.filter((each) => each.state === "paused")) this.resume(transfer);
  }

  retryAll() {
    for (const transfer of this.transfers.filter((each) => each.state === "failed" && each.file)) this.resume(transfer);
  }

  /** Go on with what stopped because nobody was signed in. */
  signedIn() {
    for (const transfer of this.transfers) {
      if (transfer.state === "failed" && transfer.code === "unauthorized") this.resume(transfer);
    }
  }

  /** Put everything down as somebody else signs in; the journal keeps it for whoever began it. */
  leave() {
    for (const transfer of this.transfers) {
      transfer.abort?.abort();
      this.locks.get(transfer.id)?.();
    }
    this.transfers = [];
    this.locks.clear();
    this.tell("list");
  }

  async cancel(transfer) {
    this.transfers = this.transfers.filter((each) => each !== transfer);
    this.release(transfer);
    this.tell("list");
    await transfer.cancel();
    this.pump();
  }

  clear() {
    for (const transfer of this.transfers.filter((each) => each.stuck)) this.cancel(transfer);
    this.transfers = this.transfers.filter((transfer) => !transfer.over && !transfer.stuck);
    this.tell("list");
  }

  /** Whether leaving the page now would lose something that the next visit can't go on with. */
  get wouldLose() {
    return this.transfers.some((transfer) => !transfer.over && !transfer.stuck && !transfer.kept);
  }

  tell(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
