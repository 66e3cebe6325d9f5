import "./style.css";

import { find, h } from "../shared/dom";
import { Api, type Connection, Problem } from "./api";
import { FleetView } from "./fleet_view";
import type { FeedRow } from "./model";
import { sessionLink, setAttribute, setText, studyLink } from "./parts";
import { SessionView } from "./session_view";
import { refusalOf, signIn } from "./signin";
import { type Frame, Store } from "./store";
import { StudyView } from "./study_view";
import type { View } from "./view";

const CONNECTION: Record<Connection | "stale", string> = {
  connecting: "Connecting",
  open: "Live",
  lost: "Reconnecting",
  stale: "The fleet cannot be read",
};

const api = new Api();
const page = find("#page");
const place = h("main", {});
const status = h("span", { class: "connection", role: "status" });
const signOut = h("button", { class: "quiet" }, "Sign out");

let view: View | null = null;
let store = new Store();
let following = new AbortController();
let connection: Connection = "connecting";
let drawing = false;

void start();

async function start(): Promise<void> {
  // On loopback the API may need no key.
  const refusal = await refusalOf(api);
  if (refusal) askForKey();
  else open();
}

function askForKey(): void {
  close();
  document.title = "Sign in · Interview Fleet";
  page.replaceChildren(h("main", {}, signIn(api, open)));
}

function open(): void {
  signOut.hidden = !api.key;
  page.replaceChildren(header(), place);
  show();
}

function header(): HTMLElement {
  const wanted = h("input", { type: "search", "aria-label": "Open a session or study by its id" });
  wanted.placeholder = "Session or study id";
  const form = h("form", { role: "search", class: "open" }, wanted, h("button", { class: "quiet" }, "Open"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const id = wanted.value.trim();
    if (id) location.hash = id.startsWith("s-") ? sessionLink(id) : studyLink(id);
    wanted.value = "";
  });
  return h(
    "header",
    { class: "page-head" },
    h("a", { href: "#/", class: "brand" }, "Interview Fleet"),
    status,
    h("div", { class: "page-tools" }, form, signOut),
  );
}

function show(): void {
  close();
  const shown = (view = viewOf(location.hash));
  const copy = (store = new Store());
  document.title = `${shown.title} · Interview Fleet`;
  place.replaceChildren(shown.element);
  shown.element.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true });
  scrollTo(0, 0);
  connected("connecting");
  following = new AbortController();
  const { signal } = following;
  const follower = {
    frame: (frame: Frame, complete: boolean) => {
      copy.apply(frame, complete, Date.now() / 1000);
      draw();
    },
    connection: connected,
    refused,
  };
  void api.follow(shown.feed, follower, signal);
}

function close(): void {
  following.abort();
  view?.close();
  view = null;
}

function viewOf(hash: string): View {
  // Ids are of these characters alone; whatever else stands there is no address of ours.
  const [, kind, id] = /^#\/(sessions|studies)\/([A-Za-z0-9._:-]+)$/.exec(hash.replaceAll("%3A", ":")) ?? [];
  if (kind === "sessions" && id) return new SessionView(api, id);
  if (kind === "studies" && id) return new StudyView(api, id);
  return new FleetView();
}

function refused(problem: Problem): void {
  if (problem.status === 401) {
    api.key = "";
    askForKey();
    return;
  }
  place.replaceChildren(
    h("div", { class: "card" }, h("h1", { tabindex: -1 }, "Not found"), h("p", {}, problem.message), h("a", { href: "#/" }, "To the fleet")),
  );
  setText(status, "");
}

function connected(now: Connection): void {
  connection = now;
  draw();
}

/** Whatever happens until the next frame of the screen is drawn with it. */
function draw(): void {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const told = connection === "open" && store.row<FeedRow>("feed").stale ? "stale" : connection;
    setText(status, CONNECTION[told]);
    setAttribute(status, "data-connection", told);
    view?.render(store, Date.now() / 1000 + store.ahead);
  });
}

signOut.addEventListener("click", () => {
  api.key = "";
  askForKey();
});
addEventListener("hashchange", () => place.isConnected && show());
// Ages count on by themselves.
setInterval(draw, 1000);
