import { SseParser } from "./sse";
import type { Frame } from "./store";

const KEY = "interview-fleet-key";
const LONGEST_WAIT_MS = 15_000;
/** The server breaks its silence every 15 s. */
const LONGEST_SILENCE_MS = 40_000;

/** What the API answered in a request's place: its problem document. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
  ) {
    super(detail);
  }
}

/** Where a feed stands, for the viewer. */
export type Connection = "connecting" | "open" | "lost";

export interface Follower {
  frame(frame: Frame, complete: boolean): void;
  connection(state: Connection): void;
  /** There is no such thing, or no right to see it: nothing more will come. */
  refused(problem: Problem): void;
}

/** The key is kept for this tab alone, and sent as a header alone. */
export class Api {
  get key(): string {
    return sessionStorage.getItem(KEY) ?? "";
  }

  set key(key: string) {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  }

  /** Raises Problem. `path` is relative to the page, so that the ingress may stand under any prefix. */
  async request(method: string, path: string, body?: object): Promise<Response> {
    const headers: Record<string, string> = { ...this.headers };
    if (body) headers["Content-Type"] = "application/json";
    const answer = await fetch(path, { method, headers, body: body ? JSON.stringify(body) : null });
    if (!answer.ok) throw await problemOf(answer);
    return answer;
  }

  /** Follows a feed until `signal` aborts: comes again when it breaks off, less and less often. */
  async follow(path: string, follower: Follower, signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      try {
        await this.read(path, follower, signal, () => {
          failures = 0;
          follower.connection("open");
        });
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Problem && [401, 404, 421, 422].includes(error.status)) {
          follower.refused(error);
          return;
        }
      }
      // A stream has its time and ends in good order; nobody need be told of one that is back at once.
      failures += 1;
      if (failures > 1) follower.connection("lost");
      const wait = Math.min(LONGEST_WAIT_MS, 125 * 2 ** failures);
      await pause(wait * (0.5 + Math.random() / 2), signal);
    }
  }

  private async read(path: string, follower: Follower, signal: AbortSignal, opened: () => void): Promise<void> {
    const silence = new AbortController();
    let watchdog = 0;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => silence.abort(), LONGEST_SILENCE_MS);
    };
    try {
      alive();
      const headers = { ...this.headers, Accept: "text/event-stream" };
      const answer = await fetch(path, { headers, signal: AbortSignal.any([signal, silence.signal]) });
      if (!answer.ok) throw await problemOf(answer);
      if (!answer.body) throw new TypeError("a stream without a body");
      const parser = new SseParser();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        alive();
        for (const { event, data } of parser.push(part.value)) {
          follower.frame(JSON.parse(data) as Frame, event === "snapshot");
          if (event === "snapshot") opened();
        }
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  private get headers(): Record<string, string> {
    return this.key ? { Authorization: `Bearer ${this.key}` } : {};
  }
}

async function problemOf(answer: Response): Promise<Problem> {
  const told = (await answer.json().catch(() => ({}))) as { code?: string; detail?: string };
  return new Problem(answer.status, told.code ?? "unknown", told.detail ?? `The API answered ${answer.status}.`);
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
