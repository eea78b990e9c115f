// Puts the page together, and lets its parts know of each other.

import { Actions } from "./actions.js";
import { byId, debounced, isTyping, setText } from "./dom.js";
import { hideDoor, showFailure, showSignIn } from "./door.js";
import { FileList } from "./filelist.js";
import { startIntake, refusalOf } from "./intake.js";
import { startKeys } from "./listkeys.js";
import { ListView } from "./listview.js";
import { openMenu } from "./menu.js";
import { Nav, startControls } from "./nav.js";
import { openPreview } from "./preview.js";
import * as query from "./query.js";
import { roughly } from "./format.js";
import { startSelectionBar } from "./selectionbar.js";
import { Selection } from "./selection.js";
import * as session from "./session.js";
import { startTheme } from "./theme.js";
import { toast } from "./toasts.js";
import { Panel } from "./uploads/panel.js";
import { Queue } from "./uploads/queue.js";

const TYPING = 180;
const AFTER_UPLOADS = 700;
/** Files that "select all" fetches and selects at the most. */
const MOST_SELECTED = 10_000;
const VIEW = "holdall.view";

const list = new FileList();
const selection = new Selection(list);
const nav = new Nav();
const queue = new Queue({ policyOf: (name) => nav.policyOf(name || "default"), refusal: (entry) => refusalOf(nav, queue, entry) });
const refreshUsage = debounced(() => nav.refreshUsage(), AFTER_UPLOADS);
const reload = debounced(() => list.reload(), AFTER_UPLOADS);
const actions = new Actions(list, selection, { changed });
const view = new ListView(byId("files"), list, selection, { actsOf, onUpload: () => byId("pick-files").click() });

/** Return the buttons at the end of a file's row. */
function actsOf(trash) {
  const more = ["more", "More", (file, opener) => menu(file, opener)];
  if (trash) return [["restore", "Restore", (file) => actions.restore([file])], more];
  return [["link", "Copy link", (file) => actions.copyLink(file)], ["download", "Download", (file) => actions.download(file)], more];
}

function menu(file, opener, at = null) {
  const element = () => view.elementOf(list.indexOf(file.id));
  openMenu(opener, actions.entries(file, { trash: query.current().trash, open, element }), { at, label: file.filename });
}

function open(file) {
  if (query.current().trash) return;
  openPreview(list, list.indexOf(file.id), actions, (at) => {
    if (list.items[at]) view.focus(at);
  });
}

/** Bring things in step after an act that changed files: `focus` is where the list goes on. */
function changed({ focus = null, focusId = null }) {
  refreshUsage();
  const place = focusId === null ? focus : list.indexOf(focusId);
  if (place === null || place < 0) return;
  if (list.items.length) view.focus(Math.min(place, list.items.length - 1));
  else byId("files").focus();
}

/** Select all that the list has, fetching what is not there yet. */
async function selectAll() {
  await list.want(Math.min(list.length, MOST_SELECTED) - 1);
  selection.all();
  if (list.length > list.items.length) toast(`The first ${MOST_SELECTED.toLocaleString()} files are selected.`);
}

function showList() {
  const { trash } = query.current();
  selection.clear();
  byId("app").classList.toggle("in-trash", trash);
  byId("notice").hidden = !trash;
  setText(byId("notice"), `Files are deleted for good after ${roughly(session.current().trash_expires_in)} here.`);
  list.open(query.parameters());
}

/** Put a file that was just uploaded where it belongs in what is shown. */
function welcome(file) {
  const { q, type, collection, sort, trash } = query.current();
  refreshUsage();
  if (trash || !file) return;
  const fits = !q && !type && (!collection || collection === file.collection);
  if (fits && sort === "-created") list.prepend(file);
  else reload();
}

function setView(mode) {
  for (const name of ["table", "grid"]) byId(`view-${name}`).setAttribute("aria-pressed", String(name === mode));
  view.setMode(mode);
  try {
    localStorage.setItem(VIEW, mode);
  } catch {
    // It then holds until the page is left.
  }
}

function storedView() {
  try {
    return localStorage.getItem(VIEW) === "grid" ? "grid" : "table";
  } catch {
    return "table";
  }
}

function startSearch() {
  const field = byId("search");
  const typed = debounced(() => query.change({ q: field.value }, { replace: true }), TYPING);
  field.addEventListener("input", typed);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      field.value = "";
      query.change({ q: "" }, { replace: true });
    }
    if (event.key === "ArrowDown" && list.items.length) {
      event.preventDefault();
      view.focus(0);
    }
  });
  byId("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    query.change({ q: field.value }, { replace: true });
  });
}

function startShortcuts() {
  addEventListener("keydown", (event) => {
    if (byId("app").hidden || document.querySelector("dialog[open], [role=menu]") || isTyping(event.target)) return;
    const control = event.ctrlKey || event.metaKey;
    const act = {
      "/": control ? null : () => byId("search").focus(),
      a: control ? selectAll : null,
      z: control && !event.shiftKey ? () => actions.undo() : null,
      Escape: selection.size ? () => selection.clear() : null,
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function startAccount() {
  const opener = byId("account");
  opener.addEventListener("click", () => {
    const { name } = session.current();
    openMenu(opener, [{ label: `Sign out ${name ?? ""}`.trim(), glyph: "out", act: leave }], { label: "Account" });
  });
}

async function leave() {
  queue.leave();
  await session.signOut().catch((error) => toast(error.message, { bad: true }));
}

/** Show what whoever is signed in may see; called at the start and after each change. */
function enter(now) {
  const locked = session.needsKey();
  byId("app").hidden = locked;
  byId("account").hidden = now.auth_mode === "open";
  byId("upload").hidden = !session.may("write");
  if (!locked && enter.was !== undefined && enter.was !== session.owner()) queue.leave();
  if (locked) return showSignIn(enter.was ? "Your session has ended. Sign in again: nothing is lost." : "");
  hideDoor();
  view.onUpload = session.may("write") ? () => byId("pick-files").click() : null;
  nav.load();
  if (enter.was !== session.owner() || !list.started) showList();
  enter.was = session.owner();
  queue.signedIn();
  queue.recall();
}

async function begin() {
  try {
    await session.load();
  } catch (error) {
    showFailure(error, begin);
  }
}

startTheme(byId("theme"), byId("nav-theme"));
startControls();
startSearch();
startShortcuts();
startAccount();
startSelectionBar(selection, actions);
startKeys(view, selection, {
  open,
  menu,
  all: selectAll,
  rename: (file) => session.may("write") && !query.current().trash && actions.rename(file, view.elementOf(list.indexOf(file.id))),
  trash: (files) => (query.current().trash ? actions.deleteForGood(files) : actions.trash(files)),
});
startIntake(nav, queue);
new Panel(queue);
setView(storedView());
byId("view-table").addEventListener("click", () => setView("table"));
byId("view-grid").addEventListener("click", () => setView("grid"));
list.addEventListener("open", () => setText(byId("count"), view.counted()));
list.addEventListener("change", () => setText(byId("count"), view.counted()));
queue.addEventListener("made", ({ detail }) => welcome(detail));
addEventListener("beforeunload", (event) => { if (queue.wouldLose) event.preventDefault(); });
query.onQuery(showList);
session.onSession(enter);
begin();
