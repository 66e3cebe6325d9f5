import { clock } from "../shared/clock";

/** How long the interview has lasted, counted on from what the server said. */
export class Timer {
  private readonly beganMs: number;

  constructor(
    elapsedS: number | null,
    private readonly limitS: number | null,
    private readonly nowMs: () => number = () => performance.now(),
  ) {
    this.beganMs = nowMs() - (elapsedS ?? 0) * 1000;
  }

  /** "3:12", and the limit in the same manner. */
  parts(): { elapsed: string; limit: string | null } {
    const elapsedS = (this.nowMs() - this.beganMs) / 1000;
    const shownS = this.limitS === null ? elapsedS : Math.min(elapsedS, this.limitS);
    return { elapsed: clock(shownS), limit: this.limitS === null ? null : clock(this.limitS) };
  }
}
