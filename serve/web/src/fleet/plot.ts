import uPlot from "uplot";

import { h } from "../shared/dom";
import { setText } from "./parts";

export interface Line {
  label: string;
  /** Its colour: a custom property of the style sheet. */
  colour: string;
  bars?: boolean;
}

export interface PlotOptions {
  title: string;
  lines: Line[];
  format(value: number): string;
  /** Lines are sums from the back to the front (`stacked`); the legend tells each part. */
  stacked?: boolean;
  height?: number;
}

const HEIGHT_PX = 200;
const MINUTE_S = 60;
const DARK = matchMedia("(prefers-color-scheme: dark)");

/** A chart over time, with a sentence that says the same to those who do not see it. */
export class Plot {
  readonly element: HTMLElement;
  private summary = h("figcaption", { class: "visually-hidden" });
  private place = h("div", { class: "plot-place" });
  private plot: uPlot | null = null;
  private lines: Line[] = [];
  private data: uPlot.AlignedData = [[]];
  private drawn = "";
  private resized = new ResizeObserver(() => this.fit());
  private recoloured = () => this.build();

  constructor(private options: PlotOptions) {
    this.element = h("figure", { class: "plot" }, this.place, this.summary);
    this.lines = options.lines;
    this.resized.observe(this.place);
    DARK.addEventListener("change", this.recoloured);
  }

  /** `times`: epoch seconds. `lines` in place of those it was made with, where they are known late. */
  set(times: number[], values: (number | null)[][], summary: string, lines: Line[] = this.lines): void {
    const others = lines.map((line) => line.label).join() !== this.lines.map((line) => line.label).join();
    const drawn = JSON.stringify([times, values]);
    if (drawn === this.drawn && this.plot) return;
    this.drawn = drawn;
    this.lines = lines;
    this.data = [times, ...values];
    setText(this.summary, `${this.options.title}. ${summary}`);
    if (!this.plot || others) this.build();
    else this.plot.setData(this.data);
  }

  close(): void {
    this.resized.disconnect();
    DARK.removeEventListener("change", this.recoloured);
    this.plot?.destroy();
  }

  private get size(): { width: number; height: number } {
    return { width: Math.max(120, this.place.clientWidth), height: this.options.height ?? HEIGHT_PX };
  }

  private fit(): void {
    if (!this.plot) this.build();
    else if (this.plot.width !== this.size.width) this.plot.setSize(this.size);
  }

  /** What of a line belongs to the next one. */
  private beneath(plot: uPlot, line: number, at: number): number {
    return this.options.stacked ? (plot.data[line + 1]?.[at] ?? 0) : 0;
  }

  private build(): void {
    if (!this.place.isConnected || !this.lines.length) return;
    this.plot?.destroy();
    const style = getComputedStyle(this.element);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour("--ink-soft"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { stroke: colour("--line"), width: 1, size: 4 },
      font: `11px ${colour("--font")}`,
    };
    // A bar stands to the right of its minute's beginning: the newest one needs its room too.
    const past = this.lines.some((line) => line.bars) ? MINUTE_S : 0;
    const bars = uPlot.paths.bars?.({ size: [0.7, 28], align: 1 });
    this.plot = new uPlot(
      {
        ...this.size,
        cursor: { y: false, points: { size: 6 } },
        legend: { live: true },
        scales: {
          x: { range: (_, low, high) => (low == null ? [null, null] : [low, high + past]) },
          y: { range: (_, _low, high) => [0, Math.max(high, 1e-9) * 1.1] },
        },
        axes: [
          { ...axis, values: "{HH}:{mm}", space: 64, size: 28 },
          { ...axis, size: 62, space: 34, values: (_, ticks) => ticks.map((tick) => this.options.format(tick)) },
        ],
        series: [
          { label: "Time", value: "{HH}:{mm}" },
          ...this.lines.map((line) => ({
            label: line.label,
            stroke: colour(line.colour),
            width: 2,
            spanGaps: true,
            points: { show: (plot: uPlot) => !line.bars && plot.data[0].length < 3, size: 6 },
            ...(line.bars && bars ? { paths: bars, fill: colour(line.colour), width: 0 } : {}),
            value: (plot: uPlot, value: number | null, n: number, at: number | null) =>
              value == null || at == null ? "–" : this.options.format(value - this.beneath(plot, n, at)),
          })),
        ],
      },
      this.data,
      this.place,
    );
  }
}

/** Minute by minute: what each provider cost, stacked, so that the upper edge is the sum. */
export function stacked(
  minutes: (readonly [number, Record<string, number>])[],
): { times: number[]; providers: string[]; values: number[][] } {
  const providers = [...new Set(minutes.flatMap(([, cost]) => Object.keys(cost)))].sort();
  // Drawn from the back: the first line is the sum of all, the last one provider alone.
  const values = providers.map((_, n) =>
    minutes.map(([, cost]) => providers.slice(n).reduce((sum, name) => sum + (cost[name] ?? 0), 0) / 1e6),
  );
  return { times: minutes.map(([minute]) => minute), providers, values };
}
