// Requests to the API of this very service, and their errors. Knows no element of the page.

/** Where the service is, whatever path a proxy shows it under. */
const BASE = new URL("./", document.baseURI);
const SAFE = ["GET", "HEAD"];
/** What a status means where no body says it: answers to HEAD have none. */
const CODES = { 401: "unauthorized", 403: "forbidden", 404: "not_found", 410: "gone", 423: "locked" };

let token = null;
let onSignedOut = () => {};
let renew = async () => {};

export const address = (path) => new URL(path, BASE).href;

/** A request that did not go well: `status` is 0 where no answer came. */
export class ApiError extends Error {
  constructor(status, code, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }

  static offline() {
    return new ApiError(0, "offline", "The service can't be reached");
  }

  /** Read an error from a status, a function that gives headers, and the body's text. */
  static of(status, header, text) {
    let told = {};
    try {
      told = JSON.parse(text) ?? {};
    } catch {
      // A proxy's page, or nothing: the status has to do.
    }
    const seconds = Number.parseInt(header("Retry-After") ?? "", 10);
    const retryAfter = Number.isFinite(seconds) ? seconds : null;
    return new ApiError(status, told.code ?? CODES[status] ?? `http_${status}`, told.error ?? "", retryAfter);
  }
}

/** Take the token of a session, and what to do when it is over or its token is an older one. */
export function useSession(csrfToken, { signedOut, renewed } = {}) {
  token = csrfToken;
  if (signedOut) onSignedOut = signedOut;
  if (renewed) renew = renewed;
}

/** Return the headers that a request which changes something has to carry. */
export function proof() {
  return token ? { "X-CSRF-Token": token } : {};
}

export function signedOut() {
  onSignedOut();
}

/** Ask the API and return what it answers, read as JSON. Throws ApiError, and AbortError. */
export async function api(method, path, { json, signal, again = true } = {}) {
  const headers = { Accept: "application/json", ...(SAFE.includes(method) ? {} : proof()) };
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const body = json === undefined ? undefined : JSON.stringify(json);
  let response;
  try {
    response = await fetch(address(path), { method, headers, body, signal, credentials: "same-origin" });
    if (response.ok) return response.status === 204 ? null : await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw ApiError.offline();
  }
  const text = await response.text().catch(() => "");
  const error = ApiError.of(response.status, (name) => response.headers.get(name), text);
  if (error.code === "csrf_failed" && again) {
    await renew();
    return api(method, path, { json, signal, again: false });
  }
  if (error.status === 401 && path !== "api/session") onSignedOut();
  throw error;
}

/** Return the path and query for `path` with those of `parameters` that are set. */
export function withQuery(path, parameters) {
  const set = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(set).toString();
  return query ? `${path}?${query}` : path;
}

/** Return where this page finds a file's bytes; links for others are the file's own `url`. */
export function bytesOf(file, parameters = {}) {
  // A name of dots alone would lead out of the folder.
  const name = /^\.+$/.test(file.filename) ? "" : `/${encodeURIComponent(file.filename)}`;
  return address(withQuery(`uploads/${file.id}${name}`, parameters));
}

/** Return a link to hand on: absolute, also where the service does not know its own name. */
export const shareable = (url) => new URL(url, BASE).href;
