// The requests of tus 1.0.0 that the page needs, one promise each. Knows no file of the list.

import { ApiError, address, proof } from "../api.js";

const VERSION = "1.0.0";
const BYTES = "application/offset+octet-stream";

/**
 * Begin an upload of `size` bytes with `body` as its first, null for none.
 * Returns `{id, offset, file}`, with `file` as in the API once the upload became one.
 */
export async function create(size, metadata, body, options) {
  const headers = { "Upload-Length": String(size), "Upload-Metadata": written(metadata) };
  if (body) headers["Content-Type"] = BYTES;
  const answer = await send("POST", "api/tus", { headers, body, ...options });
  const id = (answer.header("Location") ?? "").split("?")[0].split("/").at(-1);
  return { id, offset: Number(answer.header("Upload-Offset") ?? 0), file: fileOf(answer) };
}

/** Send bytes that begin at `offset`. Returns `{offset, file}`. */
export async function append(id, offset, body, options) {
  const headers = { "Upload-Offset": String(offset), "Content-Type": BYTES };
  const answer = await send("PATCH", `api/tus/${id}`, { headers, body, ...options });
  return { offset: Number(answer.header("Upload-Offset")), file: fileOf(answer) };
}

/** Ask how far an upload is. Returns `{offset, fileId}`, with `fileId` once it became a file. */
export async function ask(id, options) {
  const answer = await send("HEAD", `api/tus/${id}`, options);
  return { offset: Number(answer.header("Upload-Offset")), fileId: answer.header("Upload-File-Id") };
}

export function end(id) {
  return send("DELETE", `api/tus/${id}`, {});
}

/** Send a request by XMLHttpRequest, which alone tells how much of a body has gone out. */
function send(method, path, { headers = {}, body = null, signal = null, onsent = null } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, address(path));
    const common = { "Tus-Resumable": VERSION, Prefer: "return=representation", Accept: "application/json" };
    const all = { ...common, ...(method === "HEAD" ? {} : proof()), ...headers };
    for (const [name, value] of Object.entries(all)) request.setRequestHeader(name, value);
    const header = (name) => request.getResponseHeader(name);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve({ header, text: request.responseText });
      else reject(ApiError.of(request.status, header, request.responseText));
    };
    request.onerror = () => reject(ApiError.offline());
    request.onabort = () => reject(new DOMException("", "AbortError"));
    if (onsent) request.upload.onprogress = (event) => onsent(event.loaded);
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    if (signal?.aborted) request.onabort();
    else request.send(body);
  });
}

function fileOf({ header, text }) {
  if (!header("Upload-File-Id") || !text) return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function written(metadata) {
  return Object.entries(metadata)
    .filter(([, value]) => value)
    .map(([name, value]) => `${name} ${base64(value)}`)
    .join(",");
}

function base64(text) {
  let binary = "";
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte);
  return btoa(binary);
}
