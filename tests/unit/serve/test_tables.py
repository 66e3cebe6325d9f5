from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from serve.feeds.tables import Tables

KEYS = st.sampled_from(["s-1", "s-2", "s-3"])
ROWS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), min_size=1)
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, ROWS),
    st.tuples(st.just("drop"), KEYS, st.none()),
    st.tuples(st.just("commit"), st.none(), st.none()),
)


def applied(copy_: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """As a viewer does it."""
    for table, keys in told.get("drop", {}).items():
        for key in keys:
            copy_.get(table, {}).pop(key, None)
    for table, rows in told.get("put", {}).items():
        for key, row in rows.items():
            copy_.setdefault(table, {}).setdefault(key, {}).update(row)
    return copy_


@given(st.lists(STEPS, max_size=40))
def test_a_viewer_of_any_version_comes_to_the_newest(steps: list[Any]) -> None:
    tables = Tables()
    seen: dict[int, dict[str, Any]] = {0: {}}
    for step, key, row in [*steps, ("commit", None, None)]:
        if step == "put":
            tables.put("sessions", key, row)
        elif step == "drop":
            tables.drop("sessions", key)
        elif tables.commit():
            seen[tables.version] = copy.deepcopy(tables.snapshot()["put"])
    now = json.loads(json.dumps(tables.snapshot()["put"]))
    for version, had in seen.items():
        told = tables.since(version)
        assert told is not None
        assert applied(copy.deepcopy(had), told).get("sessions", {}) == now.get("sessions", {})


def test_only_what_changed_is_told() -> None:
    tables = Tables()
    tables.put("sessions", "s-1", {"spent": 1, "state": "live"})
    tables.put("sessions", "s-2", {"spent": 1})
    assert tables.commit()
    tables.put("sessions", "s-1", {"spent": 2, "state": "live"})
    tables.put("sessions", "s-2", {"spent": 1})
    assert tables.commit()
    assert tables.since(1) == {"version": 2, "put": {"sessions": {"s-1": {"spent": 2}}}}


def test_nothing_new_is_no_version() -> None:
    tables = Tables()
    tables.drop("sessions", "s-1")
    assert not tables.commit()
    tables.put("sessions", "s-1", {"spent": 1})
    assert tables.commit()
    tables.put("sessions", "s-1", {"spent": 1})
    assert not tables.commit()
    assert tables.since(tables.version) == {"version": 1}


def test_who_has_missed_too_many_departures_starts_anew() -> None:
    tables = Tables(most_dropped=2)
    for key in "abc":
        tables.put("sessions", key, {"spent": 1})
    tables.commit()
    for key in "abc":
        tables.drop("sessions", key)
        tables.commit()
    assert tables.since(1) is None
    assert tables.since(2) == {"version": 4, "drop": {"sessions": ["c", "b"]}}
