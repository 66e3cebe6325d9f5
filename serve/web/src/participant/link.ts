import type { Outcome } from "./texts/texts";

/** What serve/join.py answers. */
export interface JoinState {
  stage: "starting" | "open" | "ending" | "over";
  outcome: Outcome | null;
  language: string;
  livekit_url: string | null;
  expired: boolean;
  elapsed_s: number | null;
  limit_s: number | null;
}

/** The link is not, or no longer, one to an interview. */
export class LinkRefused extends Error {}

const ANSWER_WITHIN_MS = 10_000;

/**
 * /join/{session}#{token}, as the dispatch API gave it. The token is in the fragment, which a browser
 * sends nowhere: it is shown to the ingress and to LiveKit, and to nobody else.
 */
export class Link {
  readonly token: string;
  private readonly stateUrl: string;

  constructor(location: Location) {
    this.token = location.hash.slice(1);
    this.stateUrl = `${location.pathname.replace(/\/$/, "")}/state`;
  }

  /** Raises LinkRefused; anything else that it raises may pass. */
  async state(): Promise<JoinState> {
    // A header takes visible ASCII only, and no token has anything else.
    if (!/^[\w.-]+$/.test(this.token)) throw new LinkRefused();
    const answer = await fetch(this.stateUrl, {
      headers: { Authorization: `Bearer ${this.token}` },
      cache: "no-store",
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    });
    if ([401, 404, 422].includes(answer.status)) throw new LinkRefused();
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    return (await answer.json()) as JoinState;
  }
}
