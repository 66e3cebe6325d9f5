import { clock } from "../shared/clock";
import { h } from "../shared/dom";
import { type Api, Problem } from "./api";
import { byMinute, drawCost } from "./cost_plot";
import { count, dollars, latency, money, provider, share } from "./format";
import { Grid } from "./grid";
import type { EndedRow, MinuteRow, ProviderRow, StudyRow } from "./model";
import { ordered } from "./ordering";
import { card, setText, Tile, tiles } from "./parts";
import { Plot } from "./plot";
import { ageColumn, PHASE, PROVIDER, SESSION, SPENT, STATE } from "./sessions";
import type { Store } from "./store";
import type { View } from "./view";

interface Measure {
  label: string;
  hint?: string;
  text(row: ProviderRow): string;
  /** Of the longest bar; null draws none. */
  bar?(row: ProviderRow): number | null;
}

const MEASURES: Measure[] = [
  {
    label: "Cost per minute",
    hint: "from the agent in the room to the end",
    text: (row) => money(row.micro_usd_per_minute, 3),
    bar: (row) => row.micro_usd_per_minute ?? null,
  },
  {
    label: "Time to first audio, median",
    hint: "from assignment to the interviewer's first sound",
    text: (row) => latency(row.first_audio_p50_ms),
    bar: (row) => row.first_audio_p50_ms ?? null,
  },
  { label: "Time to first audio, 95 %", text: (row) => latency(row.first_audio_p95_ms), bar: (row) => row.first_audio_p95_ms ?? null },
  {
    label: "Completed",
    hint: "of those that somebody came to",
    text: (row) => share(row.completion),
    bar: (row) => row.completion ?? null,
  },
  { label: "Sessions ended", text: (row) => count(row.ended) },
  { label: "Nobody came", text: (row) => count(row.no_shows) },
  { label: "Interview time", text: (row) => (row.interview_s === undefined ? "–" : clock(row.interview_s)) },
  { label: "Spent in all", hint: "sessions under way included", text: (row) => money(row.spent_in_all) },
];

/** A study's totals, its providers side by side, its newest sessions. */
export class StudyView implements View {
  readonly title: string;
  readonly feed: string;
  readonly element: HTMLElement;
  private spent = new Tile("Spent");
  private sessions = new Tile("Sessions");
  private running = new Tile("Under way");
  private responses = new Tile("Responses");
  private comparison = h("div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": "Comparison" });
  private problem = h("p", { class: "problem", role: "alert" });
  private cost = new Plot({ title: "Cost by the minute", lines: [], stacked: true, height: 330, format: dollars });
  private now = 0;
  private compared = "";
  private grid = new Grid({
    label: "Newest sessions",
    columns: [SESSION, PROVIDER, STATE, PHASE, SPENT, ageColumn(() => this.now)],
    keyOf: ([id]) => id,
  });

  constructor(
    private api: Api,
    private id: string,
  ) {
    this.title = `Study ${id}`;
    this.feed = `v1/studies/${encodeURIComponent(id)}/stream`;
    const csv = h("button", { class: "primary" }, "Download costs (CSV)");
    csv.addEventListener("click", () => void this.download(csv));
    this.element = h(
      "div",
      { class: "view" },
      h(
        "header",
        { class: "view-head" },
        h(
          "div",
          {},
          h("p", { class: "crumbs" }, h("a", { href: "#/" }, "Fleet"), " / Study"),
          h("h1", { tabindex: -1 }, id),
        ),
        h("div", { class: "buttons" }, this.problem, csv),
      ),
      tiles(this.spent, this.sessions, this.running, this.responses),
      h(
        "div",
        { class: "side-by-side" },
        card("Providers side by side", {}, this.comparison),
        card("Cost per minute", {}, this.cost.element),
      ),
      card("Newest sessions", { class: "sessions" }, this.grid.element),
    );
  }

  render(store: Store, now: number): void {
    this.now = now;
    this.drawTiles(store.row<StudyRow>("study"));
    this.compare(store.table<ProviderRow>("providers"));
    const everything = { text: "", provider: "", state: "" };
    this.grid.set(ordered(store.table<EndedRow>("sessions"), everything, { key: "age", descending: false }));
    drawCost(this.cost, byMinute(store.table<MinuteRow>("minutes")), 2);
  }

  close(): void {
    this.cost.close();
  }

  private drawTiles(study: Partial<StudyRow>): void {
    const spent = study.spent === undefined ? null : study.spent + (study.estimate ?? 0);
    const limit = study.limit == null ? "no limit" : `of ${money(study.limit)}, ${money(study.committed)} committed`;
    this.spent.set(money(spent), study.spent === undefined ? "" : limit);
    const gone = study.states?.["gone"] ?? 0;
    this.sessions.set(count(study.sessions), `${count(gone)} have ended`);
    this.running.set(count((study.sessions ?? 0) - gone), `${count(study.states?.["live"] ?? 0)} live`);
    this.responses.set(count(study.responses), study.unpriced ? `${count(study.unpriced)} without usage` : "all with usage");
  }

  private compare(table: Map<string, ProviderRow>): void {
    const providers = [...table].sort(([a], [b]) => (a < b ? -1 : 1));
    const now = JSON.stringify(providers);
    if (now === this.compared) return;
    this.compared = now;
    const heads = providers.map(([name]) => h("th", { scope: "col" }, h("span", { class: "provider", "data-provider": name }, provider(name))));
    const rows = MEASURES.map((measure) => {
      const values = providers.map(([, row]) => measure.bar?.(row) ?? null);
      const most = Math.max(...values.map((value) => value ?? 0));
      const cells = providers.map(([name, row], n) => {
        const value = values[n] ?? null;
        const bar = h("span", { class: "bar", "data-provider": name, "aria-hidden": "true" });
        if (value !== null && most > 0) bar.style.transform = `scaleX(${(value / most).toFixed(3)})`;
        return h("td", {}, measure.text(row), value !== null && bar);
      });
      return h("tr", {}, h("th", { scope: "row" }, measure.label, measure.hint && h("span", { class: "hint" }, measure.hint)), ...cells);
    });
    this.comparison.replaceChildren(
      h(
        "table",
        { class: "comparison" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, "Measure")), ...heads)),
        h("tbody", {}, ...rows),
      ),
    );
  }

  /** Fetched, as a link could not send the key. */
  private async download(button: HTMLButtonElement): Promise<void> {
    button.disabled = true;
    setText(this.problem, "");
    try {
      const answer = await this.api.request("GET", `v1/studies/${encodeURIComponent(this.id)}/cost.csv`);
      const url = URL.createObjectURL(await answer.blob());
      h("a", { href: url, download: `cost-${this.id}.csv` }).click();
      URL.revokeObjectURL(url);
    } catch (error) {
      setText(this.problem, error instanceof Problem ? error.message : "The download broke off.");
    } finally {
      button.disabled = false;
    }
  }
}
