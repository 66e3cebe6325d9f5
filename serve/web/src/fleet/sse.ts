/** One Server-Sent Event. */
export interface SseEvent {
  event: string;
  data: string;
}

/** Cuts a stream of text into events, wherever the pieces are cut. Comments and ids are left out. */
export class SseParser {
  private rest = "";
  private event = "message";
  private data: string[] = [];

  push(text: string): SseEvent[] {
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.line(line));
  }

  private line(line: string): SseEvent[] {
    if (line === "") {
      const complete = this.data.length ? [{ event: this.event, data: this.data.join("\n") }] : [];
      this.event = "message";
      this.data = [];
      return complete;
    }
    const [, name = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (name === "event") this.event = value;
    if (name === "data") this.data.push(value);
    return [];
  }
}
