// Why a file would be refused, as far as that can be told before it is sent. The service decides:
// here only what is certain counts, and whoever knows better may send it anyway. Pure.

import { tooLarge } from "../explain.js";
import { bytes } from "../format.js";
import { namesOf } from "../kinds.js";

/** Types that browsers tell by the name and that are what their bytes say nearly always. */
const CERTAIN = /^(image\/(png|jpeg|gif|webp|avif)|video\/|audio\/|application\/(pdf|zip|gzip|x-7z-compressed))/;
const LOOSE = new Set(["application", "text"]);

/**
 * Return a sentence, or "" for a file that may be sent. `policy` is the collection as in the API,
 * `used` its usage, `pending` the bytes that wait for it already, `maxSize` the service's limit.
 */
export function refusal(file, { policy, used = null, pending = 0, maxSize = null }) {
  const limit = Math.min(policy?.max_size ?? Infinity, maxSize ?? Infinity);
  if (file.size > limit) return tooLarge(limit);
  if (!policy) return "";
  return ofType(file, policy) || ofQuota(file, policy, used, pending);
}

function ofType(file, policy) {
  const allowed = policy.allowed_types;
  if (!allowed?.length || !file.type || allowed.some((pattern) => matches(file.type, pattern))) return "";
  const major = file.type.split("/")[0];
  const near = LOOSE.has(major) ? allowed.some((pattern) => LOOSE.has(pattern.split("/")[0])) : false;
  const sibling = allowed.some((pattern) => pattern.split("/")[0] === major);
  if (!CERTAIN.test(file.type) && (near || sibling)) return "";
  return `This looks like ${file.type}. “${policy.name}” takes ${namesOf(allowed)}.`;
}

function ofQuota(file, policy, used, pending) {
  if (!used) return "";
  if (policy.max_files && used.files + used.reserved_files + 1 > policy.max_files) {
    return `“${policy.name}” is full: it holds ${policy.max_files} files at most. Delete some, or choose another collection.`;
  }
  const room = policy.max_bytes ? policy.max_bytes - used.bytes - used.reserved_bytes - pending : Infinity;
  if (file.size <= room) return "";
  return `“${policy.name}” has room for ${bytes(Math.max(0, room))}, and this file has ${bytes(file.size)}. Delete some files, or choose another collection.`;
}

function matches(type, pattern) {
  const [major, minor] = pattern.split("/");
  return major === "*" || pattern === type || (minor === "*" && type.startsWith(`${major}/`));
}
