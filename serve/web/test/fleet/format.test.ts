import assert from "node:assert/strict";
import { test } from "node:test";

import { count, latency, money, provider, share } from "../../src/fleet/format";

test("money is rounded for the eye alone", () => {
  assert.equal(money(431_200), "$0.43");
  assert.equal(money(431_200, 4), "$0.4312");
  assert.equal(money(1_234_567_890), "$1,234.57");
  assert.equal(money(-120_000), "−$0.12");
});

test("what is not known is not nought", () => {
  for (const shown of [money(null), count(undefined), latency(null), share(undefined)]) assert.equal(shown, "–");
});

test("units fit the size", () => {
  assert.equal(latency(640.4), "640 ms");
  assert.equal(latency(1284), "1.28 s");
  assert.equal(share(0.9118), "91 %");
  assert.equal(provider("somebody_new"), "somebody_new");
});
