import assert from "node:assert/strict";
import { test } from "node:test";

import { event, inOrder, turn } from "../../src/fleet/timeline";

const entry = (kind: string, data: Record<string, unknown>) => ({ kind, at: 0, attempt: 1, data });

test("entries stand by the numbers in their ids", () => {
  const found = inOrder([["10-0", 3], ["9-10", 2], ["9-2", 1]] as const);
  assert.deepEqual(found.map(([, n]) => n), [1, 2, 3]);
});

test("what matters is told in words, and with how much it matters", () => {
  assert.deepEqual(event(entry("phase", { change: "entered", name: "Core", cause: "advanced" })), {
    title: "Phase: Core",
    detail: "advanced",
    tone: "good",
  });
  assert.equal(event(entry("budget", { verdict: "wrap_up", spent_micro_usd: 431200 }))?.detail, "$0.431 spent");
  assert.equal(event(entry("provider", { change: "reconnected", planned: false, away_s: 1.25 }))?.detail, "1.25 s away");
  assert.equal(event(entry("state", { state: "gone", reason: "operator" }))?.detail, "ended by hand");
  assert.equal(event(entry("recovery", { from_attempt: 1, gap_s: 0.4 }))?.tone, "warn");
});

test("what is for machines, or of a kind that is not known, is left out", () => {
  for (const kind of ["usage", "tool", "turn", "from-a-newer-fleet"]) {
    assert.equal(event(entry(kind, { speaker: "participant", text: "Hm." })), null);
  }
});

test("a turn is text, whatever stands in it", () => {
  const said = turn(entry("turn", { speaker: "participant", text: "<img src=x>", interrupted: true }));
  assert.deepEqual(said, { speaker: "participant", text: "<img src=x>", interrupted: true });
  assert.equal(turn(entry("note", { text: "Hm." })), null);
});
