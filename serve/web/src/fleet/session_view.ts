import { h } from "../shared/dom";
import type { Api } from "./api";
import { byMinute, drawCost } from "./cost_plot";
import { ask } from "./dialogs";
import { age, count, dateAndTime, dollars, endReason, money, provider, timeOfDay } from "./format";
import type { CostedRow, EntryRow, MinuteRow } from "./model";
import { card, Facts, Meter, setAttribute, setText, StateChip, studyLink } from "./parts";
import { Plot } from "./plot";
import { drawSteps, phaseOf } from "./sessions";
import type { Store } from "./store";
import { event, inOrder, turn } from "./timeline";
import type { View } from "./view";

const SPEAKERS: Record<string, string> = { participant: "Participant", interviewer: "Interviewer" };

/** One session: what is said, what happens, what it costs; and the two things to be done about it. */
export class SessionView implements View {
  readonly title: string;
  readonly feed: string;
  readonly element: HTMLElement;
  private heading = h("h1", { tabindex: -1 });
  private chip = new StateChip();
  private study = h("a", {});
  private now = h("p", { class: "soft", role: "status" });
  private spent = h("p", { class: "figure" });
  private meter = new Meter();
  private facts = new Facts();
  private phase = h("p", {});
  private steps = h("div", { class: "steps wide", "aria-hidden": "true" });
  private transcript = h("ol");
  private timeline = h("ol");
  private said = h("div", { class: "transcript", role: "log", "aria-label": "What is said", tabindex: 0 }, this.transcript);
  private happened = h("div", { class: "timeline", role: "group", "aria-label": "What happens", tabindex: 0 }, this.timeline);
  private end = h("button", { class: "danger", disabled: true }, "End session");
  private change = h("button", { class: "quiet", disabled: true }, "Change limit");
  private cost = new Plot({ title: "Cost by the minute", lines: [], stacked: true, format: dollars });
  private drawn = new Set<string>();
  private limit = 0;

  constructor(
    private api: Api,
    private id: string,
  ) {
    this.title = `Session ${id}`;
    this.feed = `v1/sessions/${encodeURIComponent(id)}/stream`;
    this.end.addEventListener("click", () => this.askToEnd());
    this.change.addEventListener("click", () => this.askForLimit());
    this.element = h(
      "div",
      { class: "view" },
      h(
        "header",
        { class: "view-head" },
        h(
          "div",
          {},
          h("p", { class: "crumbs" }, h("a", { href: "#/" }, "Fleet"), " / ", this.study),
          h("div", { class: "title-line" }, this.heading, this.chip.element),
          this.now,
        ),
        h("div", { class: "buttons" }, this.change, this.end),
      ),
      h(
        "div",
        { class: "session-columns" },
        card("Transcript", { class: "tall" }, this.said),
        h(
          "div",
          { class: "stack" },
          card("Cost", {}, this.spent, this.meter.element, this.cost.element),
          card("Progress", {}, this.phase, this.steps, this.facts.element),
        ),
        card("Timeline", { class: "tall" }, this.happened),
      ),
    );
  }

  render(store: Store, now: number): void {
    const row = store.row<CostedRow>("session") as CostedRow;
    if (row.state === undefined) return;
    this.drawHead(row, now);
    this.drawFacts(row, now);
    this.drawEntries(store.table<EntryRow>("entries"));
    drawCost(this.cost, byMinute(store.table<MinuteRow>("minutes")), 3);
  }

  close(): void {
    this.cost.close();
  }

  private drawHead(row: CostedRow, now: number): void {
    setText(this.heading, row.participant || "(erased)");
    setText(this.study, row.study);
    setAttribute(this.study, "href", studyLink(row.study));
    this.chip.set(row.state);
    setText(this.now, doing(row, now));
    const over = row.state === "gone";
    this.end.disabled = over || row.state === "ending";
    this.change.disabled = over;
    this.limit = row.limit;
  }

  private drawFacts(row: CostedRow, now: number): void {
    const spent = row.spent + row.estimate;
    setText(this.spent, `${money(spent, 4)} of ${money(row.limit)}`);
    this.meter.set(spent, row.limit);
    setText(this.phase, row.phases ? `Phase ${phaseOf(row)}` : "No phase yet");
    drawSteps(this.steps, row.phases, row.phase);
    this.facts.set("Session", this.id);
    this.facts.set("Provider", `${provider(row.provider)}${row.model ? ` (${row.model})` : ""}`);
    this.facts.set("Begun", dateAndTime(row.created));
    this.facts.set("Lasted", age(row.joined, row.ended ?? now));
    this.facts.set("Attempt", count(row.attempt));
    this.facts.set("Responses", `${count(row.responses)}${row.unpriced ? ` (${row.unpriced} without usage)` : ""}`);
    this.facts.set("Tokens in / out", `${count(row.tokens_in)} / ${count(row.tokens_out)}`);
    this.facts.set("May spend up to", money(row.allowance, 3));
  }

  private drawEntries(entries: Map<string, EntryRow>): void {
    if (entries.size === 0 && this.drawn.size > 0) {
      // Erased.
      this.drawn.clear();
      this.transcript.replaceChildren();
      this.timeline.replaceChildren();
    }
    // The feed has so many entries at most: of older ones the lines stay, as long as the page does.
    for (const id of this.drawn) if (!entries.has(id)) this.drawn.delete(id);
    if (entries.size === this.drawn.size) return;
    const follow = [this.said, this.happened].filter(isAtEnd);
    for (const [id, entry] of inOrder(entries)) {
      if (this.drawn.has(id)) continue;
      this.drawn.add(id);
      this.drawEntry(entry);
    }
    for (const place of follow) place.scrollTop = place.scrollHeight;
  }

  private drawEntry(entry: EntryRow): void {
    const said = turn(entry);
    if (said) {
      const speaker = SPEAKERS[said.speaker] ?? said.speaker;
      this.transcript.append(
        h(
          "li",
          { class: "turn", "data-speaker": said.speaker },
          h("p", { class: "by" }, h("strong", {}, speaker), h("time", {}, timeOfDay(entry.at))),
          h("p", { class: "said", dir: "auto" }, said.text, said.interrupted && h("em", {}, " (interrupted)")),
        ),
      );
      return;
    }
    const happened = event(entry);
    if (!happened) return;
    this.timeline.append(
      h(
        "li",
        { "data-tone": happened.tone },
        h("time", {}, timeOfDay(entry.at)),
        h("span", {}, happened.title, happened.detail && h("span", { class: "soft small" }, ` ${happened.detail}`)),
      ),
    );
    if (entry.kind === "phase" && entry.data["change"] === "entered") {
      this.transcript.append(h("li", { class: "phase" }, happened.title));
    }
  }

  private askToEnd(): void {
    ask({
      title: "End this session?",
      body: [h("p", {}, "The interviewer says goodbye and the interview is over. It cannot be taken up again.")],
      confirm: "End session",
      dangerous: true,
      act: async () => void (await this.api.request("DELETE", `v1/sessions/${encodeURIComponent(this.id)}`)),
    });
  }

  private askForLimit(): void {
    const input = h("input", {
      id: "limit",
      inputmode: "decimal",
      pattern: "[0-9]+([.][0-9]{1,6})?",
      required: true,
      value: (this.limit / 1e6).toFixed(2),
      "aria-describedby": "limit-hint",
    });
    ask({
      title: "Change the limit",
      body: [
        h("label", { for: "limit" }, "What this session may spend in all, in dollars"),
        input,
        h("p", { id: "limit-hint", class: "hint" }, "It acts at once. Below what is spent it ends the session; 0 without a goodbye."),
      ],
      confirm: "Set limit",
      act: async () => {
        const path = `v1/sessions/${encodeURIComponent(this.id)}/limit`;
        await this.api.request("PATCH", path, { limit_usd: input.value.trim() });
      },
    });
  }
}

function doing(row: CostedRow, now: number): string {
  if (row.erased) return "Erased at the participant's request";
  if (row.state === "gone") {
    const reason = endReason(row.end_reason ?? "");
    return `Over: ${reason}${row.error ? ` (${row.error})` : ""}, ${dateAndTime(row.ended)}`;
  }
  if (row.speaking) return `${SPEAKERS[row.speaking] ?? row.speaking} speaks · ${age(row.joined, now)}`;
  if (row.state === "live") return `${row.present ? "Nobody speaks" : "The participant is away"} · ${age(row.joined, now)}`;
  return `Asked for ${age(row.created, now)} ago`;
}

function isAtEnd(place: HTMLElement): boolean {
  return place.scrollHeight - place.scrollTop - place.clientHeight < 40;
}
