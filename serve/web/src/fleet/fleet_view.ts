import { h } from "../shared/dom";
import { drawCost } from "./cost_plot";
import { count, dollars, latency, money, provider, timeOfDay } from "./format";
import { Grid } from "./grid";
import type { FleetRow, MinuteRow, NodeRow, SessionRow } from "./model";
import { type Filter, type Order, ordered, type SortKey } from "./ordering";
import { card, setAttribute, setText, Tile, tiles } from "./parts";
import { Plot } from "./plot";
import { ageColumn, PHASE, PROVIDER, SESSION, SPENT, STATE, STUDY } from "./sessions";
import type { Store } from "./store";
import type { View } from "./view";

const STATES = ["queued", "assigned", "joined", "configured", "live", "ending"];

/** All sessions that are not gone, what is ready for more, and the last hour. */
export class FleetView implements View {
  readonly title = "Fleet";
  readonly feed = "v1/fleet/stream";
  readonly element: HTMLElement;
  private live = new Tile("Live sessions");
  private warm = new Tile("Warm actors");
  private nodes = new Tile("Nodes");
  private rate = new Tile("Cost rate");
  private spent = new Tile("Spent");
  private simulated = h("p", { class: "banner", hidden: true });
  private shown = h("p", { class: "soft small", role: "status" });
  private nodeList = h("ul", { class: "nodes" });
  private now = 0;
  private store: Store | null = null;
  private filter: Filter = { text: "", provider: "", state: "" };
  private order: Order = { key: "age", descending: false };
  private grid = new Grid({
    label: "Live sessions",
    columns: [SESSION, STUDY, PROVIDER, STATE, PHASE, SPENT, ageColumn(() => this.now)],
    keyOf: ([id]) => id,
    onSort: (name) => this.sort(name as SortKey),
  });
  private dispatch = new Plot({
    title: "Dispatch latency by the minute",
    lines: [
      { label: "p95", colour: "--series-2" },
      { label: "p50", colour: "--series-1" },
    ],
    format: latency,
  });
  private cost = new Plot({
    title: "Cost by the minute",
    lines: [],
    stacked: true,
    format: dollars,
  });

  constructor() {
    this.grid.sortedBy(this.order.key, this.order.descending);
    this.element = h(
      "div",
      { class: "view" },
      h("h1", { tabindex: -1, class: "visually-hidden" }, "Fleet"),
      this.simulated,
      tiles(this.live, this.warm, this.nodes, this.rate, this.spent),
      h(
        "div",
        { class: "side-by-side" },
        card("Dispatch latency", {}, this.dispatch.element),
        card("Cost per minute", {}, this.cost.element),
      ),
      card("Sessions", { class: "sessions" }, this.filters(), this.grid.element),
      card("Nodes", {}, this.nodeList),
    );
  }

  render(store: Store, now: number): void {
    this.store = store;
    this.now = now;
    this.drawTiles(store.row<FleetRow>("fleet"), store);
    this.drawSessions();
    this.drawPlots(store.table<MinuteRow>("minutes"));
    this.drawNodes(store.table<NodeRow>("nodes"));
  }

  close(): void {
    this.dispatch.close();
    this.cost.close();
  }

  private drawTiles(fleet: Partial<FleetRow>, store: Store): void {
    const sessions = store.table<SessionRow>("sessions");
    const waiting = fleet.queue ? `, ${count(fleet.queue)} waiting` : "";
    this.live.set(count(sessions.size), fleet.slots ? `of ${count(fleet.slots)} slots${waiting}` : "");
    const starting = fleet.starting ? `${count(fleet.starting)} getting ready` : "ready at once";
    this.warm.set(count(fleet.warm), fleet.warm === 0 ? "none is ready" : starting, fleet.warm === 0 ? "warn" : "");
    const nodes = [...store.table<NodeRow>("nodes").values()];
    const draining = nodes.filter((node) => node.state !== "active").length;
    this.nodes.set(nodes.length ? count(nodes.length) : "–", draining ? `${draining} draining` : "all active");
    this.rate.set(fleet.rate == null ? "–" : `${money(fleet.rate)}/min`, "over the last minute");
    const limit = fleet.limit == null ? "no limit" : `of ${money(fleet.limit)}`;
    const spent = fleet.spent === undefined ? null : fleet.spent + (fleet.estimate ?? 0);
    this.spent.set(money(spent), fleet.money_known === false ? "the budget does not answer" : limit);
    const names = (fleet.simulated ?? []).map(provider).join(" and ");
    this.simulated.hidden = !names;
    setText(this.simulated, `A simulator speaks in place of ${names}.`);
  }

  private drawSessions(): void {
    if (!this.store) return;
    const sessions = this.store.table<SessionRow>("sessions");
    const shown = ordered(sessions, this.filter, this.order);
    this.grid.set(shown);
    setText(this.shown, `${count(shown.length)} of ${count(sessions.size)} sessions`);
  }

  private drawPlots(table: Map<string, MinuteRow>): void {
    const minutes = [...table].map(([at, row]) => [Number(at), row] as const).sort(([a], [b]) => a - b);
    const dispatched = minutes.filter(([, row]) => row.dispatches);
    const last = dispatched.at(-1)?.[1];
    this.dispatch.set(
      dispatched.map(([at]) => at),
      [dispatched.map(([, row]) => row.dispatch_p95_ms ?? null), dispatched.map(([, row]) => row.dispatch_p50_ms ?? null)],
      last
        ? `Newest minute: half of ${count(last.dispatches)} within ${latency(last.dispatch_p50_ms)}, 95 % within ${latency(last.dispatch_p95_ms)}.`
        : "No session was begun in the last hour.",
    );
    const costs = minutes.filter(([, row]) => row.cost).map(([at, row]) => [at, row.cost ?? {}] as const);
    drawCost(this.cost, costs, 3, 0);
  }

  private drawNodes(nodes: Map<string, NodeRow>): void {
    const known = new Map([...this.nodeList.children].map((item) => [(item as HTMLElement).dataset["node"], item]));
    for (const [id, node] of nodes) {
      const item = known.get(id) ?? h("li", { "data-node": id });
      known.delete(id);
      if (!item.isConnected) this.nodeList.append(item);
      setAttribute(item, "data-state", node.state);
      const until = node.deadline ? ` until ${timeOfDay(node.deadline)}` : "";
      setText(item, `${node.host || node.address} · ${node.live} live, ${node.ready} ready · ${node.state}${until}`);
    }
    for (const item of known.values()) item.remove();
  }

  private filters(): HTMLElement {
    const search = h("input", { type: "search", "aria-label": "Filter by participant, session or study" });
    search.placeholder = "Participant, session, study";
    search.addEventListener("input", () => this.narrow({ text: search.value }));
    return h(
      "div",
      { class: "filters" },
      search,
      choice("Provider", ["openai_realtime", "gemini_live"], provider, (chosen) => this.narrow({ provider: chosen })),
      choice("State", STATES, String, (state) => this.narrow({ state })),
      this.shown,
    );
  }

  private narrow(change: Partial<Filter>): void {
    this.filter = { ...this.filter, ...change };
    this.drawSessions();
  }

  private sort(key: SortKey): void {
    this.order = { key, descending: this.order.key === key ? !this.order.descending : key === "spent" };
    this.grid.sortedBy(key, this.order.descending);
    this.drawSessions();
  }
}

function choice(name: string, of: string[], label: (value: string) => string, chosen: (value: string) => void): HTMLElement {
  const select = h(
    "select",
    { "aria-label": name },
    h("option", { value: "" }, `${name}: all`),
    ...of.map((value) => h("option", { value }, label(value))),
  );
  select.addEventListener("change", () => chosen(select.value));
  return select;
}
