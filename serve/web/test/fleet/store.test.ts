import assert from "node:assert/strict";
import { test } from "node:test";

import { Store } from "../../src/fleet/store";

test("changes are laid over the rows that are there", () => {
  const store = new Store();
  store.apply({ at: 100, version: 1, put: { sessions: { a: { spent: 1, state: "live" }, b: { spent: 2 } } } }, true, 98);
  store.apply({ at: 101, version: 2, drop: { sessions: ["b"] }, put: { sessions: { a: { spent: 3 } } } }, false, 98);
  assert.deepEqual([...store.table("sessions")], [["a", { spent: 3, state: "live" }]]);
  assert.equal(store.ahead, 3);
});

test("a row that was gone and is back has nothing of its former self", () => {
  const store = new Store();
  store.apply({ at: 0, version: 1, put: { sessions: { a: { spent: 1, phase: 2 } } } }, true, 0);
  store.apply({ at: 0, version: 2, drop: { sessions: ["a"] }, put: { sessions: { a: { spent: 0 } } } }, false, 0);
  assert.deepEqual(store.table("sessions").get("a"), { spent: 0 });
});

test("a snapshot leaves nothing of what was there before", () => {
  const store = new Store();
  store.apply({ at: 0, version: 9, put: { fleet: { "": { warm: 2 } }, nodes: { n: { live: 1 } } } }, true, 0);
  store.apply({ at: 0, version: 1, put: { fleet: { "": { live: 3 } } } }, true, 0);
  assert.deepEqual(store.row("fleet"), { live: 3 });
  assert.equal(store.table("nodes").size, 0);
});
