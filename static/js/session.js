// Who is signed in, and what the service takes: asked for once, and after each change.

import { api, useSession } from "./api.js";

let session = null;
const listeners = new Set();

export const current = () => session;
export const may = (scope) => session.scopes.includes(scope) || session.scopes.includes("admin");
export const needsKey = () => session.auth_mode === "keys" && !session.signed_in;
export const onSession = (listener) => listeners.add(listener);

/** Say whose uploads are whose: what one key has begun, another does not go on with. */
export const owner = () => (session.auth_mode === "open" ? "" : `${session.name ?? ""}`);

/** Ask who is signed in. Throws ApiError. */
export async function load() {
  take(await api("GET", "api/session"));
}

/** Sign in with a key, which the browser then knows no more. Throws ApiError. */
export async function signIn(key) {
  take(await api("POST", "api/session", { json: { key } }));
}

export async function signOut() {
  await api("DELETE", "api/session");
  await load();
}

function take(answer) {
  session = answer;
  useSession(answer.csrf_token, { signedOut: lost, renewed: load });
  for (const listener of listeners) listener(session);
}

function lost() {
  if (session === null || needsKey() || session.auth_mode === "open") return;
  take({ ...session, signed_in: false, scopes: [], csrf_token: null });
}
