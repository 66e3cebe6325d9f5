import { clock } from "../shared/clock";
import { h } from "../shared/dom";
import { age, endReason, money, provider, shortId } from "./format";
import type { Column } from "./grid";
import type { EndedRow, SessionRow } from "./model";
import type { SessionEntry } from "./ordering";
import { Meter, sessionLink, setAttribute, setText, StateChip, studyLink } from "./parts";

type Col = Column<SessionEntry>;

/** Whose session: a link to it. */
export const SESSION: Col = {
  name: "session",
  label: "Participant",
  sortable: true,
  cell(cell) {
    const link = h("a", {});
    const id = h("span", { class: "soft small" });
    cell.append(h("span", { class: "two-lines" }, link, id));
    return ([key, row]) => {
      setAttribute(link, "href", sessionLink(key));
      setText(link, row.participant || "(erased)");
      setText(id, shortId(key));
    };
  },
};

export const STUDY: Col = {
  name: "study",
  label: "Study",
  sortable: true,
  cell(cell) {
    const link = h("a", {});
    cell.append(link);
    return ([, row]) => {
      setAttribute(link, "href", studyLink(row.study));
      setText(link, row.study);
    };
  },
};

export const PROVIDER: Col = {
  name: "provider",
  label: "Provider",
  sortable: true,
  cell(cell) {
    const text = h("span", { class: "provider" });
    cell.append(text);
    return ([, row]) => {
      setText(text, provider(row.provider));
      setAttribute(text, "data-provider", row.provider);
    };
  },
};

export const STATE: Col = {
  name: "state",
  label: "State",
  sortable: true,
  cell(cell) {
    const chip = new StateChip();
    const remark = h("span", { class: "soft small" });
    cell.append(h("span", { class: "two-lines" }, chip.element, remark));
    return ([, row]) => {
      chip.set(row.state);
      setText(remark, remarkOf(row));
    };
  },
};

export const PHASE: Col = {
  name: "phase",
  label: "Phase",
  sortable: true,
  cell(cell) {
    const text = h("span", { class: "small" });
    const steps = h("span", { class: "steps", "aria-hidden": "true" });
    cell.append(h("span", { class: "two-lines" }, text, steps));
    return ([, row]) => {
      setText(text, phaseOf(row));
      drawSteps(steps, row.phases, row.phase);
    };
  },
};

export const SPENT: Col = {
  name: "spent",
  label: "Spent of limit",
  sortable: true,
  numeric: true,
  cell(cell) {
    const text = h("span", {});
    const meter = new Meter();
    cell.append(h("span", { class: "two-lines" }, text, meter.element));
    return ([, row]) => {
      const spent = row.spent + row.estimate;
      setText(text, `${money(spent, 3)} of ${money(row.limit)}`);
      meter.set(spent, row.limit);
    };
  },
};

/** `now`: asked at each drawing. */
export function ageColumn(now: () => number): Col {
  return {
    name: "age",
    label: "Age",
    sortable: true,
    numeric: true,
    cell: (cell) =>
      ([, row]) => {
        const ended = (row as Partial<EndedRow>).ended;
        setText(cell, ended ? clock(ended - row.created) : age(row.created, now()));
      },
  };
}

export function phaseOf(row: SessionRow): string {
  if (!row.phases) return "–";
  if (row.phase === null) return `0 of ${row.phases}`;
  return `${row.phase + 1} of ${row.phases}${row.phase_id ? ` · ${row.phase_id}` : ""}`;
}

/** As many marks as there are phases; done, under way, to come. */
export function drawSteps(place: HTMLElement, phases: number, current: number | null): void {
  while (place.childElementCount > phases) place.lastElementChild?.remove();
  while (place.childElementCount < phases) place.append(h("i", {}));
  [...place.children].forEach((step, n) => {
    const at = current ?? -1;
    setAttribute(step, "data-step", n < at ? "done" : n === at ? "now" : null);
  });
}

function remarkOf(row: SessionRow): string {
  const reason = (row as Partial<EndedRow>).end_reason;
  if (reason) return endReason(reason);
  if (row.speaking) return `${row.speaking} speaks`;
  if (row.state === "live" && !row.present) return "participant is away";
  return row.attempt > 1 ? `attempt ${row.attempt}` : "";
}
