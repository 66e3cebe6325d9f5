import assert from "node:assert/strict";
import { test } from "node:test";

import { SseParser } from "../../src/fleet/sse";

const STREAM =
  'id: 1\nevent: snapshot\ndata: {"a":1}\n\n: still here\n\nid: 2\r\nevent: changes\r\ndata: x: y\r\n\r\ndata: two\ndata: lines\n\n';
const EVENTS = [
  { event: "snapshot", data: '{"a":1}' },
  { event: "changes", data: "x: y" },
  { event: "message", data: "two\nlines" },
];

test("events are the same wherever the stream is cut", () => {
  for (let cut = 0; cut <= STREAM.length; cut++) {
    const parser = new SseParser();
    assert.deepEqual([...parser.push(STREAM.slice(0, cut)), ...parser.push(STREAM.slice(cut))], EVENTS);
  }
});

test("an event that is not complete is not told", () => {
  const parser = new SseParser();
  assert.deepEqual(parser.push("event: changes\ndata: {}\n"), []);
  assert.deepEqual(parser.push("\n"), [{ event: "changes", data: "{}" }]);
});
