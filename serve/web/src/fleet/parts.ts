import { type Child, h } from "../shared/dom";

/** Sets the text only where it changed: the rest of the page stays as it is laid out. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element: Element, name: string, value: string | null): void {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export function sessionLink(id: string): string {
  return `#/sessions/${encodeURIComponent(id)}`;
}

export function studyLink(id: string): string {
  return `#/studies/${encodeURIComponent(id)}`;
}

/** A figure with its name above and a remark below. */
export class Tile {
  readonly element: HTMLElement;
  private value = h("dd", { class: "tile-value" });
  private remark = h("dd", { class: "tile-remark" });

  constructor(label: string) {
    this.element = h("div", { class: "tile" }, h("dt", {}, label), this.value, this.remark);
  }

  set(value: string, remark = "", tone = ""): void {
    setText(this.value, value);
    setText(this.remark, remark);
    setAttribute(this.element, "data-tone", tone || null);
  }
}

export function tiles(...of: Tile[]): HTMLElement {
  return h("dl", { class: "tiles" }, ...of.map((tile) => tile.element));
}

/** Spent against a limit. */
export class Meter {
  readonly element: HTMLElement;
  private bar = h("span", { class: "meter-bar" });

  constructor() {
    this.element = h("span", { class: "meter", "aria-hidden": "true" }, this.bar);
  }

  set(value: number, limit: number): void {
    const part = limit > 0 ? Math.min(1, value / limit) : 1;
    this.bar.style.transform = `scaleX(${part.toFixed(4)})`;
    setAttribute(this.element, "data-tone", part >= 0.95 ? "bad" : part >= 0.8 ? "warn" : null);
  }
}

export class StateChip {
  readonly element = h("span", { class: "chip" });

  set(state: string, label = state): void {
    setAttribute(this.element, "data-state", state);
    setText(this.element, label);
  }
}

export function card(title: string, attributes: { class?: string }, ...children: Child[]): HTMLElement {
  const id = `card-${title.toLowerCase().replace(/\W+/g, "-")}`;
  const classes = `card ${attributes.class ?? ""}`.trim();
  return h("section", { class: classes, "aria-labelledby": id }, h("h2", { id }, title), ...children);
}

/** Definitions, whose values change. */
export class Facts {
  readonly element = h("dl", { class: "facts" });
  private values = new Map<string, HTMLElement>();

  set(name: string, value: string): void {
    let shown = this.values.get(name);
    if (!shown) {
      shown = h("dd");
      this.values.set(name, shown);
      this.element.append(h("div", {}, h("dt", {}, name), shown));
    }
    setText(shown, value);
  }
}
