import { provider, timeOfDay } from "./format";
import type { MinuteRow } from "./model";
import { type Plot, stacked } from "./plot";
import { colourOf } from "./view";

/**
 * What each provider cost, minute by minute. `places`: of the newest minute's dollars. `unspent`: what is said of
 * minutes without any provider; left out, nothing has come yet.
 */
export function drawCost(
  plot: Plot,
  minutes: (readonly [number, Record<string, number>])[],
  places: number,
  unspent?: number,
): void {
  const { times, providers, values } = stacked(minutes);
  const newest = values[0]?.at(-1) ?? (times.length ? unspent : undefined);
  plot.set(
    times,
    values,
    newest === undefined ? "Nothing yet." : `Newest minute, ${timeOfDay(times.at(-1))}: $${newest.toFixed(places)}.`,
    providers.map((name) => ({ label: provider(name), colour: colourOf(name), bars: true })),
  );
}

/** Of a feed's table, by minute. */
export function byMinute(table: Map<string, MinuteRow>): (readonly [number, Record<string, number>])[] {
  return [...table].map(([at, row]) => [Number(at), row.cost ?? {}] as const).sort(([a], [b]) => a - b);
}
