import { h } from "../shared/dom";
import { setAttribute, setText } from "./parts";

const ROW_PX = 44;
const SPARE_ROWS = 6;

export interface Column<Item> {
  name: string;
  label: string;
  sortable?: boolean;
  numeric?: boolean;
  /** Makes the cell's content once a row, and returns what updates it. */
  cell(cell: HTMLElement): (item: Item) => void;
}

export interface GridOptions<Item> {
  label: string;
  columns: Column<Item>[];
  keyOf(item: Item): string;
  onSort?(name: string): void;
}

interface ShownRow<Item> {
  element: HTMLTableRowElement;
  update(item: Item): void;
}

/**
 * A table of any length of which only the rows in sight are in the document. A row keeps its element as
 * long as it is in sight, so that focus and selection stay, and only texts that changed are written. Elements
 * of rows that have gone out of sight are used for those that come into it.
 */
export class Grid<Item> {
  readonly element: HTMLElement;
  private body = h("tbody");
  private table: HTMLTableElement;
  private above = spacer();
  private below = spacer();
  private heads = new Map<string, HTMLElement>();
  private shown = new Map<string, ShownRow<Item>>();
  private spare: ShownRow<Item>[] = [];
  private items: Item[] = [];
  // Told, not asked for: asking in the middle of a drawing would have the page laid out once more.
  private top = 0;
  private height = 0;
  private drawing = false;

  constructor(private options: GridOptions<Item>) {
    const heads = options.columns.map((column) => this.head(column));
    this.table = h(
      "table",
      { "aria-label": options.label },
      h("thead", {}, h("tr", { "aria-rowindex": 1 }, ...heads)),
      this.body,
    );
    this.body.append(this.above, this.below);
    this.element = h("div", { class: "grid", tabindex: 0, role: "group", "aria-label": options.label }, this.table);
    this.element.addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(([seen]) => {
      this.height = seen?.contentRect.height ?? 0;
      this.draw();
    }).observe(this.element);
  }

  set(items: Item[]): void {
    this.items = items;
    setAttribute(this.table, "aria-rowcount", String(items.length + 1));
    this.draw();
  }

  sortedBy(name: string, descending: boolean): void {
    for (const [column, head] of this.heads) {
      const direction = descending ? "descending" : "ascending";
      setAttribute(head, "aria-sort", column === name ? direction : null);
    }
  }

  private scrolled(): void {
    this.top = this.element.scrollTop;
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      this.draw();
    });
  }

  private draw(): void {
    const first = Math.max(0, Math.floor(this.top / ROW_PX) - SPARE_ROWS);
    const fits = Math.ceil(this.height / ROW_PX) + 2 * SPARE_ROWS;
    const inSight = this.items.slice(first, first + fits);
    const keys = new Set(inSight.map((item) => this.options.keyOf(item)));
    for (const [key, row] of this.shown) {
      if (!keys.has(key)) {
        this.shown.delete(key);
        this.free(row);
      }
    }
    let before: Element = this.above;
    inSight.forEach((item, n) => {
      const row = this.rowOf(item);
      if (before.nextElementSibling !== row.element) before.after(row.element);
      setAttribute(row.element, "aria-rowindex", String(first + n + 2));
      row.update(item);
      before = row.element;
    });
    for (const row of this.spare) row.element.remove();
    resize(this.above, first);
    resize(this.below, this.items.length - first - inSight.length);
  }

  /** Not one that has the focus: Enter would open another session than the one that was chosen. */
  private free(row: ShownRow<Item>): void {
    if (row.element.contains(document.activeElement)) {
      this.element.focus({ preventScroll: true });
      row.element.remove();
    } else {
      this.spare.push(row);
    }
  }

  private rowOf(item: Item): ShownRow<Item> {
    const key = this.options.keyOf(item);
    const known = this.shown.get(key);
    if (known) return known;
    const row = this.spare.pop() ?? this.made();
    this.shown.set(key, row);
    return row;
  }

  private made(): ShownRow<Item> {
    const cells = this.options.columns.map((column, n) => {
      const cell = n ? h("td") : h("th", { scope: "row" });
      if (column.numeric) cell.classList.add("numeric");
      return { cell, update: column.cell(cell) };
    });
    const element = h("tr", {}, ...cells.map(({ cell }) => cell));
    return { element, update: (item) => cells.forEach(({ update }) => update(item)) };
  }

  private head(column: Column<Item>): HTMLElement {
    const { onSort } = this.options;
    const content =
      column.sortable && onSort
        ? h("button", { type: "button", onclick: () => onSort(column.name) }, column.label)
        : column.label;
    const head = h("th", { scope: "col", class: column.numeric ? "numeric" : null }, content);
    this.heads.set(column.name, head);
    return head;
  }
}

/** A cell of plain text. */
export function textCell<Item>(text: (item: Item) => string): Column<Item>["cell"] {
  return (cell) => (item) => setText(cell, text(item));
}

function spacer(): HTMLTableRowElement {
  return h("tr", { "aria-hidden": "true", class: "spacer" });
}

function resize(row: HTMLElement, rows: number): void {
  const height = `${Math.max(0, rows) * ROW_PX}px`;
  if (row.style.height !== height) row.style.height = height;
}
