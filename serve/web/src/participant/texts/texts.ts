import { de } from "./de";
import { en } from "./en";
import { es } from "./es";
import { fr } from "./fr";
import { ja } from "./ja";
import { ko } from "./ko";

/** A screen's heading and what stands below it. */
export interface Words {
  heading: string;
  text: string;
}

export interface Texts {
  title: string;
  loading: string;
  welcome: Words & { hints: string[]; atMost: (minutes: number) => string; start: string };
  asking: Words;
  denied: Words & { steps: string[] };
  missing: Words;
  busy: Words;
  unsupported: Words;
  joining: Words;
  talk: { waiting: string; listening: string; hearing: string; thinking: string; speaking: string };
  time: string;
  timeOf: (elapsed: string, limit: string) => string;
  microphone: string;
  silent: string;
  captions: string;
  captionsHint: string;
  sound: string;
  reconnecting: string;
  back: string;
  leave: string;
  confirm: Words & { stay: string; leave: string };
  left: Words & { back: string };
  dropped: Words;
  elsewhere: Words & { here: string };
  closing: Words;
  thanks: string;
  outcomes: Record<Outcome, string>;
  close: string;
  badLink: Words;
  expired: Words;
  unreachable: Words;
  again: string;
}

/** As the server tells it, see serve/models/join.py. */
export type Outcome = "completed" | "time_up" | "closed" | "no_show" | "left" | "interrupted";

const TEXTS: Record<string, Texts> = { en, de, fr, es, ja, ko };

/** The first of `languages` ("de-AT", say) that we have, else English. */
export function textsFor(languages: readonly string[]): { language: string; texts: Texts } {
  const known = languages.map((tag) => tag.toLowerCase().split("-")[0] ?? "");
  const language = known.find((name) => Object.hasOwn(TEXTS, name)) ?? "en";
  return { language, texts: TEXTS[language] ?? en };
}
