/** A feed's frame, as docs/api.md has it. */
export interface Frame {
  /** Epoch seconds, by the server's clock. */
  at: number;
  version: number;
  drop?: Record<string, string[]>;
  put?: Record<string, Record<string, object>>;
}

/** This page's copy of a feed's tables. */
export class Store {
  /** How far the server's clock is ahead of this one, in seconds. */
  ahead = 0;
  private tables = new Map<string, Map<string, object>>();

  /** `complete`: the frame is a snapshot; what it does not have is gone. */
  apply(frame: Frame, complete: boolean, now: number): void {
    if (complete) this.tables.clear();
    this.ahead = frame.at - now;
    for (const [table, keys] of Object.entries(frame.drop ?? {})) {
      for (const key of keys) this.tables.get(table)?.delete(key);
    }
    for (const [table, rows] of Object.entries(frame.put ?? {})) {
      const mine = this.table(table);
      for (const [key, row] of Object.entries(rows)) mine.set(key, { ...mine.get(key), ...row });
    }
  }

  table<Row extends object>(name: string): Map<string, Row> {
    const found = this.tables.get(name) ?? new Map<string, object>();
    this.tables.set(name, found);
    return found as Map<string, Row>;
  }

  /** Of a table that has one row. Nothing of it may be known yet. */
  row<Row extends object>(name: string): Partial<Row> {
    return this.table<Row>(name).get("") ?? {};
  }
}
