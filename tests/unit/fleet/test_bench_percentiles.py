from __future__ import annotations

from fleet.bench.percentiles import percentile


def test_they_are_values_that_were_seen() -> None:
    values = [float(n) for n in range(20, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.95, 1.0)] == [10, 19, 20]
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([], 0.95) is None
