import type { LocalAudioTrack } from "livekit-client";

import { find } from "../shared/dom";
import type { Closed, Interview } from "./interview";
import { type JoinState, type Link, LinkRefused } from "./link";
import { LiveScreen } from "./live";
import { LevelMeter, canTalk, microphoneProblem } from "./microphone";
import { type Screen, content } from "./screens";
import { type Texts, textsFor } from "./texts/texts";
import { Timer } from "./timer";
import { WakeLock } from "./wake";

const LOOK_AGAIN_MS = 1_000;
const TRY_AGAIN_MS = 3_000;
const SELDOM_MS = 30_000;

/** Loaded while the participant reads: the page itself is there without it. */
const library = () => import("./interview");

/** One participant before this page, from the link to the thanks. */
export class Visit {
  private readonly card = find("#card");
  private readonly wake = new WakeLock();
  private texts: Texts = textsFor(navigator.languages).texts;
  private stay: Stay | null = null;
  /** Of the screens so far. Whatever was begun under another one is void. */
  private step = 0;
  /** How often it has tried to come back since it was last in the room. */
  private returns = 0;

  constructor(private readonly link: Link) {}

  /** Where the interview is decides what is shown. */
  async open(): Promise<void> {
    const step = this.begin({ kind: "loading" });
    try {
      const state = await this.link.state();
      if (step !== this.step) return;
      this.speak(state.language);
      this.arrive(state);
    } catch (error) {
      if (step === this.step) this.unreachable(error, () => void this.open());
    }
  }

  private arrive({ stage, outcome, expired, limit_s }: JoinState): void {
    if (stage === "over") this.begin({ kind: "over", outcome: outcome ?? "interrupted" });
    else if (stage === "ending") void this.settle();
    else if (expired) this.begin({ kind: "expired" });
    else if (!canTalk()) this.begin({ kind: "microphone", problem: "unsupported", again: never });
    else {
      void library().catch(never); // asked for again, and then in earnest, when it is needed
      const minutes = limit_s === null ? null : Math.ceil(limit_s / 60);
      this.begin({ kind: "welcome", minutes, start: () => void this.start() });
    }
  }

  private async start(): Promise<void> {
    const step = this.begin({ kind: "asking" });
    const again = () => void this.start();
    try {
      const microphone = await (await library()).openMicrophone();
      if (step === this.step) await this.enter(microphone);
      else microphone.stop();
    } catch (error) {
      if (step !== this.step) return;
      if (!(error instanceof DOMException)) return this.unreachable(error, again);
      this.begin({ kind: "microphone", problem: microphoneProblem(error), again });
    }
  }

  private async enter(microphone: LocalAudioTrack): Promise<void> {
    const step = this.begin({ kind: "joining" });
    try {
      const state = await this.untilOpen(step);
      if (step !== this.step) return microphone.stop();
      if (state.stage === "open" && state.livekit_url !== null) {
        return await this.join(step, state, state.livekit_url, microphone);
      }
      microphone.stop();
      this.arrive(state);
    } catch (error) {
      microphone.stop();
      if (step !== this.step) return;
      if (this.returns > 0 && !(error instanceof LinkRefused)) void this.comeBack();
      else this.unreachable(error, () => void this.start());
    }
  }

  /** A session that was accepted without waiting has no room for a moment. */
  private async untilOpen(step: number): Promise<JoinState> {
    let state = await this.link.state();
    while (state.stage === "starting" && step === this.step) {
      await pause(LOOK_AGAIN_MS);
      state = await this.link.state();
    }
    return state;
  }

  private async join(
    step: number,
    state: JoinState,
    url: string,
    microphone: LocalAudioTrack,
  ): Promise<void> {
    const { Interview, onDeviceChanged } = await library();
    const screen = new LiveScreen(this.texts, new Timer(state.elapsed_s, state.limit_s), {
      leave: () => void this.begin({ kind: "left", back: () => void this.open() }),
      startSound: () => void stay.interview.startSound(),
    });
    const interview = new Interview({
      talk: (talk) => screen.talk(talk),
      reconnecting: (now) => screen.reconnecting(now),
      muted: (now) => screen.muted(now),
      caption: (sentence, words) => screen.caption(sentence, words),
      closed: (why) => this.closed(why),
    });
    const stay = new Stay(interview, screen);
    this.stay = stay;
    await interview.join(url, this.link.token, microphone);
    if (step !== this.step) return;
    this.returns = 0;
    stay.meter.follow(microphone.mediaStreamTrack);
    onDeviceChanged(microphone, (track) => stay.meter.follow(track));
    this.wake.hold();
    this.show("live", screen.content);
  }

  private closed(why: Closed): void {
    if (why === "elsewhere") this.begin({ kind: "elsewhere", back: () => void this.start() });
    else if (why === "ended") void this.settle();
    else void this.comeBack();
  }

  /** The room is closed; how it ended is known a moment later. */
  private async settle(): Promise<void> {
    const step = this.begin({ kind: "closing" });
    const state = await this.until(step, LOOK_AGAIN_MS, ({ stage }) => stage === "over");
    if (state) this.arrive(state);
  }

  /**
   * LiveKit's own attempts have failed. Goes on until the interview is over, each time after a longer
   * pause: where the room cannot be reached the ingress still can.
   */
  private async comeBack(): Promise<void> {
    const step = this.begin({ kind: "dropped", again: () => void this.start() });
    if (this.returns > 0) await pause(Math.min(TRY_AGAIN_MS * 2 ** (this.returns - 1), SELDOM_MS));
    this.returns += 1;
    const state = await this.until(step, TRY_AGAIN_MS, () => true);
    if (state?.stage === "open") void this.start();
    else if (state) this.arrive(state);
  }

  /** Where the interview is, once that is so; null: another screen has come, or the link is refused. */
  private async until(
    step: number,
    everyMs: number,
    so: (state: JoinState) => boolean,
  ): Promise<JoinState | null> {
    while (step === this.step) {
      try {
        const state = await this.link.state();
        if (step === this.step && so(state)) return state;
      } catch (error) {
        if (error instanceof LinkRefused) {
          if (step === this.step) this.unreachable(error, never);
          return null;
        }
      }
      await pause(everyMs);
    }
    return null;
  }

  private unreachable(error: unknown, again: () => void): void {
    if (error instanceof LinkRefused) this.begin({ kind: "badLink" });
    else this.begin({ kind: "unreachable", again });
  }

  /** Another screen in place of everything before. */
  private begin(screen: Screen): number {
    this.stay?.end();
    this.stay = null;
    this.wake.release();
    this.show(screen.kind, content(screen, this.texts));
    return ++this.step;
  }

  private show(name: string, children: ReturnType<typeof content>): void {
    this.card.dataset["screen"] = name;
    this.card.replaceChildren(...children.filter((child) => child instanceof Node));
    // Where a screen reader is to read on; the focus is not left on what is gone.
    this.card.querySelector<HTMLElement>("h1")?.focus();
  }

  private speak(language: string): void {
    const found = textsFor([language, ...navigator.languages]);
    this.texts = found.texts;
    document.documentElement.lang = found.language;
    document.title = found.texts.title;
  }
}

/** What lasts as long as a stay in the room. */
class Stay {
  readonly meter: LevelMeter;

  constructor(
    readonly interview: Interview,
    private readonly screen: LiveScreen,
  ) {
    this.meter = new LevelMeter(
      (level) => screen.loudness(level),
      (silent) => screen.microphoneSilent(silent),
    );
  }

  end(): void {
    this.meter.close();
    this.screen.close();
    void this.interview.leave();
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function never(): void {}
