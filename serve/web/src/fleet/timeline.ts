import { endReason, latency, money } from "./format";
import type { EntryRow } from "./model";

export type Tone = "plain" | "good" | "warn" | "bad";

export interface Event {
  title: string;
  detail: string;
  tone: Tone;
}

export interface Turn {
  speaker: string;
  text: string;
  interrupted: boolean;
}

type Data = Record<string, unknown>;

/** Entries of a journal in the order in which they were written. */
export function inOrder<Row>(entries: Iterable<readonly [string, Row]>): (readonly [string, Row])[] {
  return [...entries].sort(([a], [b]) => comparedIds(a, b));
}

/** What was said, if that is what the entry tells. */
export function turn({ kind, data }: EntryRow): Turn | null {
  if (kind !== "turn") return null;
  return { speaker: text(data["speaker"]), text: text(data["text"]), interrupted: !!data["interrupted"] };
}

/** The entry in words; null for what is of no use to a reader: usage, tools, audio statistics. */
export function event({ kind, data, attempt }: EntryRow): Event | null {
  return KINDS[kind]?.(data, attempt) ?? null;
}

const KINDS: Record<string, (data: Data, attempt: number) => Event | null> = {
  state: ({ state, reason }) =>
    state === "gone"
      ? said("Ended", reason ? endReason(text(reason)) : "", reason === "completed" ? "good" : "plain")
      : said(STATES[text(state)] ?? text(state)),
  metadata: ({ wait_s, problem }) =>
    problem ? said("No usable contract", text(problem), "bad") : said("Contract read", seconds(wait_s)),
  participant: ({ change, reason }) => {
    if (change === "left") return said("Participant left", text(reason), "warn");
    return said(change === "returned" ? "Participant is back" : "Participant joined", "", "good");
  },
  phase,
  provider,
  budget: ({ verdict, spent_micro_usd }) => {
    const spent = `${money(number(spent_micro_usd), 3)} spent`;
    if (verdict === "wrap_up") return said("Budget is running out", spent, "warn");
    if (verdict === "end") return said("Budget used up", spent, "bad");
    return verdict ? said("Budget renewed", spent) : null;
  },
  audio: ({ first_audio_s }) =>
    first_audio_s === undefined ? null : said("First audio", `${seconds(first_audio_s)} after assignment`),
  recovery: ({ from_attempt, silence_s, change, gap_s }, attempt) => {
    if (change) return said("Handed over to another actor", "", "warn");
    if (silence_s !== undefined) return said("Audible again", `${seconds(silence_s)} of silence`);
    return said(`Actor ${attempt} carries on`, `from ${text(from_attempt)}, ${seconds(gap_s)} later`, "warn");
  },
  note: ({ text: note }) => said("Note", text(note)),
};

const STATES: Record<string, string> = {
  assigned: "Assigned",
  joined: "Agent in the room",
  configured: "Interviewer ready",
  live: "Interview begun",
  ending: "Ending",
};

function phase({ change, name, phase_id, cause }: Data): Event | null {
  switch (change) {
    case "entered":
      return said(`Phase: ${text(name) || text(phase_id)}`, cause === "started" ? "" : text(cause), "good");
    case "nudged":
      return said("Phase is over its time", "the interviewer was told", "warn");
    case "closing":
      return said("Last phase is over", text(cause));
    case "goodbye":
      return said("Goodbye");
    default:
      return null;
  }
}

function provider({ change, planned, away_s, code }: Data): Event | null {
  switch (change) {
    case "connected":
      return said("Provider connected");
    case "reconnected":
      return said("Provider reconnected", `${seconds(away_s)} away`, planned ? "plain" : "warn");
    case "disconnected":
      return planned ? null : said("Provider lost", "", "warn");
    case "error":
      return said("Provider error", text(code), "bad");
    case "given_up":
      return said("Provider given up", text(code), "bad");
    default:
      return null;
  }
}

function said(title: string, detail = "", tone: Tone = "plain"): Event {
  return { title, detail, tone };
}

function text(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}

function number(value: unknown): number | null {
  return typeof value === "number" ? value : null;
}

function seconds(value: unknown): string {
  const found = number(value);
  return found === null ? "" : latency(found * 1000);
}

/** "1763900000000-2" before "1763900000000-10". */
function comparedIds(a: string, b: string): number {
  const [aMs = 0, aSeq = 0] = a.split("-").map(Number);
  const [bMs = 0, bSeq = 0] = b.split("-").map(Number);
  return aMs - bMs || aSeq - bSeq;
}
