import type { SessionRow } from "./model";

export type SessionEntry = readonly [id: string, row: SessionRow];

export type SortKey = "session" | "study" | "provider" | "state" | "phase" | "spent" | "age";

export interface Order {
  key: SortKey;
  descending: boolean;
}

export interface Filter {
  /** Part of an id, a participant or a study; upper and lower case are the same. */
  text: string;
  provider: string;
  state: string;
}

const STATES = ["queued", "assigned", "joined", "configured", "live", "ending", "gone"];

const VALUES: Record<SortKey, (entry: SessionEntry) => string | number> = {
  session: ([id, row]) => row.participant || id,
  study: ([, row]) => row.study,
  provider: ([, row]) => row.provider,
  state: ([, row]) => STATES.indexOf(row.state),
  phase: ([, row]) => (row.phases && row.phase !== null ? (row.phase + 1) / row.phases : -1),
  spent: ([, row]) => row.spent + row.estimate,
  age: ([, row]) => -row.created,
};

export function isShown([id, row]: SessionEntry, filter: Filter): boolean {
  const text = filter.text.trim().toLowerCase();
  const words = [id, row.participant, row.study];
  return (
    (!filter.provider || row.provider === filter.provider) &&
    (!filter.state || row.state === filter.state) &&
    (!text || words.some((word) => word.toLowerCase().includes(text)))
  );
}

/** Those that are shown, in order. Equal ones stand by their ids, so that rows never swap for nothing. */
export function ordered(entries: Iterable<SessionEntry>, filter: Filter, order: Order): SessionEntry[] {
  const value = VALUES[order.key];
  const sign = order.descending ? -1 : 1;
  const shown = [...entries].filter((entry) => isShown(entry, filter));
  return shown.sort((a, b) => sign * compared(value(a), value(b)) || compared(a[0], b[0]));
}

function compared(a: string | number, b: string | number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
