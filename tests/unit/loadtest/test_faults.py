from __future__ import annotations

import pytest

from loadtest.simulators.faults import FaultBook, FaultKind


def test_a_fault_strikes_as_often_as_asked() -> None:
    book = FaultBook()
    book.add(kind="no_usage", count=2)
    struck = [book.take(FaultKind.NO_USAGE, "any") is not None for _ in range(3)]
    assert struck == [True, True, False]
    assert book.struck == {"no_usage": 2}


def test_no_limit_means_until_cleared() -> None:
    book = FaultBook()
    book.add(kind="slow", count=None)
    assert all(book.take(FaultKind.SLOW, "any") for _ in range(10))
    assert book.clear() == 1
    assert book.take(FaultKind.SLOW, "any") is None


def test_only_the_matching_session_and_kind_are_struck() -> None:
    book = FaultBook()
    book.add(kind="slow", match="study 7")
    assert book.take(FaultKind.SLOW, "study 8", "gpt-realtime") is None
    assert book.take(FaultKind.NO_USAGE, "study 7") is None
    assert book.take(FaultKind.SLOW, "this is study 7") is not None


def test_numbers_come_from_params() -> None:
    fault = FaultBook().add(kind="slow", params={"ttfa_ms": 900})
    assert fault.number("ttfa_ms", 5000) == 900
    assert fault.number("speed", 0.5) == 0.5


def test_unknown_unsupported_and_empty_faults_are_refused() -> None:
    book = FaultBook(supported=[FaultKind.SLOW])
    for bad in ({"kind": "earthquake"}, {"kind": "no_usage"}, {"kind": "slow", "count": 0}):
        with pytest.raises(ValueError, match=r".+"):
            book.add(**bad)  # type: ignore[arg-type]


def test_texts_come_from_params_one_or_many() -> None:
    book = FaultBook()
    assert book.add(kind="malformed_event").texts("{") == ["{"]
    assert book.add(kind="malformed_event", params={"text": ""}).texts("{") == [""]
    assert book.add(kind="malformed_event", params={"texts": ["[]", 7]}).texts("{") == ["[]", "7"]
