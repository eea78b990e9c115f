// What stands before the files: signing in with a key, and a service that does not answer.

import { announce, button, byId, h, icon } from "./dom.js";
import { explain } from "./explain.js";
import * as session from "./session.js";

/** Ask for a key. `note` says why, where somebody was signed in before. */
export function showSignIn(note = "") {
  const problem = h("p", { class: "problem", role: "alert", id: "key-problem" });
  const key = h("input", {
    id: "key", class: "field", type: "password", name: "password", required: true, maxlength: 255,
    autocomplete: "current-password", spellcheck: "false", placeholder: "holdall_…", "aria-describedby": "key-problem",
  });
  const enter = button("Sign in", () => {}, { kind: "primary wide", type: "submit" });
  const form = h("form", { class: "door-card" },
    icon("holdall", "mark large"), h("h1", {}, "Sign in"),
    h("p", { class: "hint" }, note || "Use an API key of this service."),
    h("label", { class: "labelled", for: "key" }, h("span", {}, "API key"), key), problem, enter,
    h("p", { class: "hint small" }, "Whoever runs the service makes keys with ", h("code", {}, "flask keys create"), ". The browser doesn't keep yours: it gets a session that ends by itself."));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (enter.disabled) return;
    enter.disabled = true;
    problem.textContent = "";
    try {
      await session.signIn(key.value.trim());
      announce("Signed in.");
    } catch (error) {
      problem.textContent = error.status === 401 ? "This key isn't good here: it may be mistyped, revoked or expired." : explain(error);
      key.setAttribute("aria-invalid", "true");
      key.select();
    }
    enter.disabled = false;
  });
  open(form);
  key.focus();
}

/** Say that the service does not answer, and offer to ask again. */
export function showFailure(error, again) {
  const retry = button("Try again", again, { kind: "primary" });
  open(h("div", { class: "door-card", role: "alert" }, icon("alert", "mark large"), h("h1", {}, "Holdall doesn't answer"), h("p", { class: "hint" }, explain(error)), retry));
  retry.focus();
}

export function hideDoor() {
  byId("door").hidden = true;
  byId("door").replaceChildren();
}

function open(content) {
  const door = byId("door");
  door.hidden = false;
  door.replaceChildren(h("main", { class: "door-room" }, content));
}
