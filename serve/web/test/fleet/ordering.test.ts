import assert from "node:assert/strict";
import { test } from "node:test";

import type { SessionRow } from "../../src/fleet/model";
import { ordered, type SessionEntry } from "../../src/fleet/ordering";

const EVERYTHING = { text: "", provider: "", state: "" };

function session(id: string, changes: Partial<SessionRow>): SessionEntry {
  const row = {
    study: "parks",
    participant: `p-${id}`,
    provider: "openai_realtime",
    model: null,
    state: "live",
    attempt: 1,
    created: 100,
    joined: 100,
    limit: 1,
    node: null,
    phase: 0,
    phase_id: "warmup",
    phases: 2,
    speaking: null,
    present: true,
    spent: 0,
    estimate: 0,
  };
  return [id, { ...row, ...changes } as SessionRow];
}

const ids = (entries: SessionEntry[]) => entries.map(([id]) => id).join("");

test("states stand in the order of a session's life, equal ones by their ids", () => {
  const entries = [session("b", {}), session("c", { state: "queued" }), session("a", {})];
  assert.equal(ids(ordered(entries, EVERYTHING, { key: "state", descending: false })), "cab");
  assert.equal(ids(ordered(entries, EVERYTHING, { key: "state", descending: true })), "abc");
});

test("what is under way counts as spent, and the youngest has the least age", () => {
  const entries = [session("a", { spent: 5, created: 100 }), session("b", { spent: 4, estimate: 2, created: 200 })];
  assert.equal(ids(ordered(entries, EVERYTHING, { key: "spent", descending: true })), "ba");
  assert.equal(ids(ordered(entries, EVERYTHING, { key: "age", descending: false })), "ba");
});

test("a filter looks at ids, participants and studies, and all its parts must fit", () => {
  const entries = [session("a", { study: "Trees" }), session("b", { provider: "gemini_live", study: "trees" })];
  const order = { key: "session", descending: false } as const;
  assert.equal(ids(ordered(entries, { ...EVERYTHING, text: " tREES " }, order)), "ab");
  assert.equal(ids(ordered(entries, { ...EVERYTHING, text: "trees", provider: "gemini_live" }, order)), "b");
  assert.equal(ids(ordered(entries, { ...EVERYTHING, state: "ending" }, order)), "");
});
