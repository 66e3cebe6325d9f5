import type { Store } from "./store";

/** One of the page's views, shown while the address says so. */
export interface View {
  title: string;
  /** The feed it is drawn from, relative to the page. */
  feed: string;
  element: HTMLElement;
  /** Called when the feed has news and once a second. `now`: epoch seconds by the server's clock. */
  render(store: Store, now: number): void;
  close(): void;
}

export const COLOURS: Record<string, string> = {
  openai_realtime: "--series-1",
  gemini_live: "--series-2",
};

export function colourOf(provider: string): string {
  return COLOURS[provider] ?? "--series-3";
}
