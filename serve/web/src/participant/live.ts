import { h } from "../shared/dom";
import type { Talk } from "./interview";
import { button } from "./screens";
import type { Texts } from "./texts/texts";
import type { Timer } from "./timer";

export interface LiveActions {
  leave(): void;
  startSound(): void;
}

const TICK_MS = 500;
const SENTENCES_SHOWN = 3;
const BACK_SHOWN_MS = 5_000;

/**
 * The interview under way. Who speaks is told to the eye alone: said aloud by a screen reader it would
 * talk over the interviewer. What needs the participant is said.
 */
export class LiveScreen {
  readonly content: HTMLElement[];
  private readonly orb = h("div", { class: "orb", "aria-hidden": "true" });
  private readonly talking = h("p", { class: "talking" });
  private readonly time = h("span", { role: "timer" });
  private readonly level = h("div", { class: "level", "aria-hidden": "true" }, h("div", {}));
  private readonly notice = h("p", { class: "notice", role: "status" });
  private readonly sound: HTMLButtonElement;
  private readonly captions = h("div", { class: "captions", hidden: true, tabindex: 0, role: "log" });
  private readonly sentences = new Map<string, HTMLElement>();
  private readonly leaving: HTMLDialogElement;
  private readonly ticking: number;
  private forgetting = 0;
  private cut = false;
  private silent = false;

  constructor(
    private readonly texts: Texts,
    private readonly timer: Timer,
    actions: LiveActions,
  ) {
    this.leaving = this.confirmation(actions.leave);
    this.sound = button(texts.sound, actions.startSound);
    this.sound.hidden = true;
    this.captions.ariaLabel = texts.captions;
    this.captions.ariaLive = "off"; // read along, not read out: that would talk over the interviewer
    this.captions.append(h("p", { class: "soft" }, texts.captionsHint));
    const toggle = button(texts.captions, () => this.toggleCaptions(toggle), "quiet");
    toggle.setAttribute("aria-pressed", "false");
    this.content = [
      h("header", {}, h("h1", { tabindex: -1 }, texts.title), this.clockFace()),
      this.orb,
      this.talking,
      this.sound,
      this.notice,
      this.captions,
      h("div", { class: "microphone" }, h("span", {}, texts.microphone), this.level),
      h(
        "div",
        { class: "row" },
        toggle,
        button(texts.leave, () => this.leaving.showModal(), "quiet"),
      ),
      this.leaving,
    ];
    this.tick();
    this.ticking = window.setInterval(() => this.tick(), TICK_MS);
    this.talk("waiting");
  }

  close(): void {
    clearInterval(this.ticking);
    clearTimeout(this.forgetting);
    if (this.leaving.open) this.leaving.close();
  }

  talk(talk: Talk): void {
    this.orb.dataset["talk"] = talk;
    this.talking.textContent = this.texts.talk[talk];
  }

  /** 0 to 1. */
  loudness(level: number): void {
    this.level.style.setProperty("--level", level.toFixed(3));
    this.orb.style.setProperty("--level", level.toFixed(3));
  }

  reconnecting(now: boolean): void {
    const was = this.cut;
    this.cut = now;
    this.tell(was && !now ? this.texts.back : "");
    clearTimeout(this.forgetting);
    this.forgetting = window.setTimeout(() => this.tell(""), BACK_SHOWN_MS);
  }

  muted(now: boolean): void {
    this.sound.hidden = !now;
  }

  microphoneSilent(now: boolean): void {
    this.silent = now;
    this.tell("");
  }

  caption(sentence: string, words: string): void {
    let line = this.sentences.get(sentence);
    if (!line) {
      line = h("p", {});
      this.sentences.set(sentence, line);
      this.captions.replaceChildren(...[...this.sentences.values()].slice(-SENTENCES_SHOWN));
    }
    line.textContent = words;
    this.captions.scrollTop = this.captions.scrollHeight;
  }

  /** The most pressing thing that there is to say, else `otherwise`. */
  private tell(otherwise: string): void {
    const pressing = this.cut ? this.texts.reconnecting : this.silent ? this.texts.silent : "";
    this.notice.textContent = pressing || otherwise;
    this.notice.classList.toggle("good", !pressing);
    this.orb.classList.toggle("cut", this.cut);
  }

  private clockFace(): HTMLElement {
    const label = h("span", { class: "visually-hidden" }, `${this.texts.time}: `);
    return h("p", { class: "time soft" }, label, this.time);
  }

  private tick(): void {
    const { elapsed, limit } = this.timer.parts();
    this.time.textContent = limit === null ? elapsed : this.texts.timeOf(elapsed, limit);
  }

  private toggleCaptions(toggle: HTMLButtonElement): void {
    this.captions.hidden = !this.captions.hidden;
    toggle.setAttribute("aria-pressed", String(!this.captions.hidden));
  }

  private confirmation(leave: () => void): HTMLDialogElement {
    const { heading, text, stay, leave: go } = this.texts.confirm;
    const title = h("h2", { id: "leaving" }, heading);
    const close = () => dialog.close();
    const choices = h("div", { class: "row" }, button(stay, close), button(go, leave, "quiet"));
    const dialog = h("dialog", { "aria-labelledby": "leaving" }, title, h("p", {}, text), choices);
    return dialog;
  }
}
