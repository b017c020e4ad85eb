// Live parts of pages. An element with an id and data-live="alarm point" is fetched anew when an event of one of these
// types comes; data-live-if="machine=P-101" only when the event's field is that; data-live-src says from where, the
// page's own address otherwise. What comes back is a page or a part of one that has an element of the same id.
import { localise } from "./times.js";

const TYPES = ["alarm", "point", "rollout", "gateway", "job"];
const WAIT_MS = 400; // gathers bursts into one request
const STALE_MS = 10_000; // shorter breaks are nobody's concern

let source = null;
let staleTimer = 0;
const due = new Map(); // element id -> timer

/** Follow the stream as long as the page is looked at: a hidden page costs neither a connection nor a request. */
export function followStream(url) {
  if (!document.querySelector("[data-live]")) return;
  const connect = () => {
    if (source) return;
    source = new EventSource(url);
    source.addEventListener("open", () => setStale(false));
    source.addEventListener("error", () => setStale(true));
    for (const type of TYPES) source.addEventListener(type, (event) => onEvent(type, event));
  };
  const disconnect = () => {
    source?.close();
    source = null;
    clearTimeout(staleTimer);
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) disconnect();
    else {
      connect();
      for (const element of document.querySelectorAll("[data-live]")) schedule(element); // what has been missed
    }
  });
  addEventListener("pagehide", disconnect);
  if (!document.hidden) connect();
}

function onEvent(type, event) {
  let fields = {};
  try {
    fields = JSON.parse(event.data);
  } catch {
    fields = {}; // an event without fields concerns every part of its type
  }
  for (const element of document.querySelectorAll("[data-live]")) {
    if (element.dataset.live.split(" ").includes(type) && concerns(element, fields)) schedule(element);
  }
}

/** Whether the event's fields are what the element waits for; a field that the event lacks excludes nothing. */
function concerns(element, fields) {
  const rule = element.dataset.liveIf;
  if (!rule) return true;
  const at = rule.indexOf("=");
  const value = fields[rule.slice(0, at)];
  return value === undefined || value === null || String(value) === rule.slice(at + 1);
}

function schedule(element) {
  if (!element.id || due.has(element.id)) return;
  due.set(element.id, setTimeout(() => refresh(element.id), WAIT_MS));
}

export async function refresh(id) {
  due.delete(id);
  const old = document.getElementById(id);
  if (!old) return;
  if (isBeingUsed(old)) {
    schedule(old); // somebody types or has opened something there: later
    return;
  }
  let answer;
  try {
    answer = await fetch(old.dataset.liveSrc ?? location.href, { headers: { accept: "text/html" }, cache: "no-store" });
  } catch {
    setStale(true); // the hub is away; the stream says when it is back
    return;
  }
  if (answer.status === 401 || (answer.redirected && new URL(answer.url).pathname === "/login")) {
    location.reload(); // the session has ended: to the page that says so
    return;
  }
  if (!answer.ok) {
    setStale(true);
    return;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById(id);
  const present = document.getElementById(id);
  if (!fresh || !present || isBeingUsed(present)) return;
  const focused = focusWithin(present);
  localise(fresh);
  present.replaceWith(document.adoptNode(fresh));
  if (focused) document.querySelector(focused)?.focus({ preventScroll: true });
  document.dispatchEvent(new CustomEvent("millwright:replaced", { detail: { id } }));
}

function isBeingUsed(element) {
  const active = document.activeElement;
  if (element.contains(active) && active.matches("input, select, textarea")) return true;
  return element.querySelector("details.ask[open], input[type=checkbox]:checked") !== null;
}

/** A selector for the link or control that has the focus, so that the keyboard does not lose its place. */
function focusWithin(element) {
  const active = document.activeElement;
  if (!element.contains(active) || active === element) return null;
  if (active.id) return `#${CSS.escape(active.id)}`;
  const href = active.getAttribute("href");
  return href ? `#${CSS.escape(element.id)} [href="${CSS.escape(href)}"]` : null;
}

function setStale(stale) {
  clearTimeout(staleTimer);
  const note = document.getElementById("stale");
  if (!note) return;
  if (stale) staleTimer = setTimeout(() => (note.hidden = false), STALE_MS);
  else note.hidden = true;
}
