// Turns what went wrong into a sentence that says what to do. Pure.

import { bytes, span } from "./format.js";
import { namesOf } from "./kinds.js";

const SENTENCES = {
  offline: () => "Holdall can't be reached. Check your connection, then try again.",
  unauthorized: () => "You are signed out. Sign in again to go on.",
  forbidden: (error) => `Your key may not do this. ${sentence(error.message)}`,
  csrf_failed: () => "This page has been open for too long. Load it again, then repeat this.",
  cross_site: () => "The service takes changes from its own address only. Open the page under that address.",
  foreign_host: () => "The service doesn't answer to this address. Open the page under localhost, or the name it was set up with.",
  not_found: () => "This file isn't there any more. Somebody may have deleted it.",
  collection_not_found: () => "This collection isn't there any more. Choose another one.",
  conflict: () => "Something else changed at the same moment. Try once more.",
  locked: () => "This upload is in use elsewhere, perhaps in another tab. It is tried again.",
  body_timeout: () => "Nothing arrived for too long. Check your connection, then try again.",
  too_many_failures: (error) => `Too many wrong keys came from your address. Wait ${span(error.retryAfter ?? 60)}, then try again.`,
  storage_full: () => "The service's disk is full, so nothing was kept. Files can still be opened and deleted; try again once there is room.",
  storage_unavailable: () => "The storage doesn't answer at the moment. Nothing is lost; try again soon.",
  database_unavailable: () => "The database doesn't answer at the moment. Nothing is lost; try again soon.",
  object_missing: () => "The bytes of this file are missing from the storage. Tell whoever runs the service.",
};

/** Say what an error means, for anything but uploads. */
export function explain(error) {
  const known = SENTENCES[error.code];
  if (known) return known(error);
  if (error.status >= 500) return "Something went wrong in the service. Try again; if it stays so, its log says why.";
  return sentence(error.message) || "That didn't work. Try again.";
}

/** Say why an upload was refused; `policy` is the collection's entry in the API, if known. */
export function explainUpload(error, { policy = null, maxSize = null } = {}) {
  const where = policy ? `“${policy.name}”` : "This collection";
  if (error.code === "type_not_allowed") {
    const takes = policy?.allowed_types?.length ? ` ${where} takes ${namesOf(policy.allowed_types)}.` : "";
    const [, type] = /type (\S+)/.exec(error.message) ?? [];
    return type ? `Its content is ${type}.${takes || " That is not taken here."}` : sentence(error.message) + takes;
  }
  if (error.status === 413) return tooLarge(policy?.max_size ?? maxSize);
  if (error.code === "quota_exceeded") return `${where} has no room for this file. Delete some and empty the trash, or choose another collection.`;
  if (error.code === "gone" || error.code === "not_found" || error.code === "expired") {
    return "The service has dropped what was sent of this file, as it waited too long. Retry sends it from the beginning.";
  }
  if (error.code === "unauthorized") return "You are signed out. Sign in again, and this goes on from where it was.";
  return explain(error);
}

export function tooLarge(limit) {
  return limit ? `Too large: a file may have ${bytes(limit)} at most here.` : "Too large for this service.";
}

function sentence(text) {
  if (!text) return "";
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
