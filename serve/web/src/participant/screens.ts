import { type Child, h } from "../shared/dom";
import type { MicrophoneProblem } from "./microphone";
import type { Outcome, Texts, Words } from "./texts/texts";

/** Everything that is shown besides the interview itself, with what its button does. */
export type Screen =
  | { kind: "loading" | "asking" | "joining" | "closing" | "badLink" | "expired" }
  | { kind: "welcome"; minutes: number | null; start: () => void }
  | { kind: "microphone"; problem: MicrophoneProblem; again: () => void }
  | { kind: "unreachable" | "dropped"; again: () => void }
  | { kind: "left" | "elsewhere"; back: () => void }
  | { kind: "over"; outcome: Outcome };

/** What stands in the card. Its first heading takes the focus. */
export function content(screen: Screen, texts: Texts): Child[] {
  switch (screen.kind) {
    case "loading":
      return [h("p", { class: "soft" }, texts.loading)];
    case "welcome":
      return welcome(texts, screen.minutes, screen.start);
    case "microphone":
      return microphone(texts, screen.problem, screen.again);
    case "asking":
      return [mark("microphone"), ...words(texts.asking)];
    case "joining":
    case "closing":
      return [h("div", { class: "wait", "aria-hidden": "true" }), ...words(texts[screen.kind])];
    case "badLink":
    case "expired":
      return [mark("link"), ...words(texts[screen.kind])];
    case "unreachable":
    case "dropped":
      return [mark("cut"), ...words(texts[screen.kind]), button(texts.again, screen.again)];
    case "left":
      return [...words(texts.left), button(texts.left.back, screen.back)];
    case "elsewhere":
      return [...words(texts.elsewhere), button(texts.elsewhere.here, screen.back)];
    case "over":
      return over(texts, screen.outcome);
  }
}

function welcome(texts: Texts, minutes: number | null, start: () => void): Child[] {
  const { hints, atMost } = texts.welcome;
  return [
    mark("talk"),
    ...words(texts.welcome),
    h("ul", { class: "hints" }, ...hints.map((hint) => h("li", {}, hint))),
    button(texts.welcome.start, start),
    minutes !== null && h("p", { class: "soft small" }, atMost(minutes)),
  ];
}

function microphone(texts: Texts, problem: MicrophoneProblem, again: () => void): Child[] {
  const steps = problem === "denied" ? texts.denied.steps.map((step) => h("li", {}, step)) : [];
  return [
    mark("microphone"),
    ...words(texts[problem]),
    steps.length > 0 && h("ol", { class: "hints" }, ...steps),
    problem !== "unsupported" && button(texts.again, again),
  ];
}

function over(texts: Texts, outcome: Outcome): Child[] {
  const heading = outcome === "no_show" ? texts.expired.heading : texts.thanks;
  return [
    mark(outcome === "no_show" ? "link" : "done"),
    ...words({ heading, text: texts.outcomes[outcome] }),
    h("p", { class: "soft small" }, texts.close),
  ];
}

function words({ heading, text }: Words): Child[] {
  return [h("h1", { tabindex: -1 }, heading), h("p", {}, text)];
}

export function button(label: string, onclick: () => void, look = "main"): HTMLButtonElement {
  return h("button", { type: "button", class: `button ${look}`, onclick }, label);
}

/** A picture for the eye alone; drawn by the style sheet. */
function mark(name: "talk" | "microphone" | "link" | "cut" | "done"): Child {
  return h("div", { class: `mark ${name}`, "aria-hidden": "true" });
}
