/** Rows of the feeds (serve/feeds/rows.py). Money is micro-dollars, times are epoch seconds. */
export interface SessionRow {
  study: string;
  participant: string;
  provider: string;
  model: string | null;
  state: string;
  attempt: number;
  created: number;
  joined: number | null;
  limit: number;
  node: string | null;
  phase: number | null;
  phase_id: string | null;
  phases: number;
  speaking: "interviewer" | "participant" | null;
  present: boolean;
  spent: number;
  estimate: number;
}

export interface EndedRow extends SessionRow {
  room: string;
  language: string;
  ended: number | null;
  end_reason: string | null;
  error: string | null;
  erased: boolean;
  timeout_s: number | null;
}

export interface CostedRow extends EndedRow {
  allowance: number;
  verdict: string;
  responses: number;
  unpriced: number;
  tokens_in: number;
  tokens_out: number;
}

export interface FleetRow {
  crew_known: boolean;
  money_known: boolean;
  warm: number;
  reserved: number;
  live: number;
  starting: number;
  slots: number;
  free: number;
  queue: number;
  wait_s: number | null;
  spent: number;
  estimate: number;
  limit: number | null;
  rate: number | null;
  simulated: string[];
}

export interface NodeRow {
  address: string;
  host: string;
  state: "active" | "draining" | "drained";
  live: number;
  ready: number;
  deadline: number | null;
}

export interface MinuteRow {
  dispatches?: number;
  dispatch_p50_ms?: number;
  dispatch_p95_ms?: number;
  cost?: Record<string, number>;
}

export interface StudyRow {
  sessions: number;
  states: Record<string, number>;
  spent: number;
  estimate: number;
  limit: number | null;
  committed: number;
  responses: number;
  unpriced: number;
  tokens_in: number;
  tokens_out: number;
}

export interface ProviderRow {
  ended?: number;
  no_shows?: number;
  completed?: number;
  completion?: number | null;
  interview_s?: number;
  micro_usd_per_minute?: number | null;
  first_audio_p50_ms?: number | null;
  first_audio_p95_ms?: number | null;
  spent_in_all?: number;
  sessions?: number;
}

export interface EntryRow {
  kind: string;
  at: number;
  attempt: number;
  data: Record<string, unknown>;
}

export interface FeedRow {
  stale: boolean;
}
