import { clock } from "../shared/clock";

const NOT_KNOWN = "–";

/** 431200 → "$0.431". */
export function money(microUsd: number | null | undefined, digits = 2): string {
  if (microUsd == null) return NOT_KNOWN;
  const usd = microUsd / 1e6;
  const text = Math.abs(usd).toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  return `${usd < 0 ? "−" : ""}$${text}`;
}

/** Of an axis: 0.02 → "$0.020", 5 → "$5.00". */
export function dollars(usd: number): string {
  return usd ? money(Math.round(usd * 1e6), Math.abs(usd) < 0.1 ? 3 : 2) : "$0";
}

/** 1234567 → "1,234,567". */
export function count(value: number | null | undefined): string {
  return value == null ? NOT_KNOWN : value.toLocaleString("en-US");
}

/** 640.2 → "640 ms", 1284 → "1.28 s". */
export function latency(ms: number | null | undefined): string {
  if (ms == null) return NOT_KNOWN;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** 0.9118 → "91 %". */
export function share(value: number | null | undefined): string {
  return value == null ? NOT_KNOWN : `${Math.round(value * 100)} %`;
}

/** Since `from` until `to`, epoch seconds, as a clock. */
export function age(from: number | null | undefined, to: number): string {
  return from == null ? NOT_KNOWN : clock(to - from);
}

/** Wall clock of the viewer's own zone. */
export function timeOfDay(at: number | null | undefined): string {
  return at == null ? NOT_KNOWN : new Date(at * 1000).toLocaleTimeString("en-GB");
}

export function dateAndTime(at: number | null | undefined): string {
  if (at == null) return NOT_KNOWN;
  const moment = new Date(at * 1000);
  const date = moment.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return `${date}, ${moment.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })}`;
}

const PROVIDERS: Record<string, string> = {
  openai_realtime: "OpenAI Realtime",
  gemini_live: "Gemini Live",
};

export function provider(name: string): string {
  return PROVIDERS[name] ?? name;
}

const REASONS: Record<string, string> = {
  completed: "completed",
  budget_exceeded: "budget used up",
  no_show: "nobody came",
  participant_left: "participant left",
  session_timeout: "time limit",
  metadata_timeout: "no contract in the room",
  provider_failed: "provider failed",
  operator: "ended by hand",
  drained: "drained",
  actor_lost: "actor lost",
  room_failed: "room failed",
};

export function endReason(reason: string): string {
  return REASONS[reason] ?? reason;
}

/** "s-8f3b21c07a9d…" is as good as the whole where it is a link. */
export function shortId(id: string): string {
  return id.length > 14 ? `${id.slice(0, 12)}…` : id;
}
