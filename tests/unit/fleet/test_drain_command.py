"""``fleet drain``, as a pod's preStop has it: the head may restart at any moment."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.cli import drain
from fleet.cli.client import ApiProblem
from fleet.cli.drain import AWAY_LOOKS, _patiently, wait_drained

AWAY = ApiProblem("the API does not answer")
RESTARTING = ApiProblem("HTTP 503", 503)
UNKNOWN = ApiProblem("no such node", 404)
WRONG_KEY = ApiProblem("wrong key", 401)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(drain, "time", clock)
    return clock


class Api:
    """Answers, or raises, one after the other; the last one for good."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    def get(self, path: str) -> Any:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def seen(*nodes: tuple[str, str, int]) -> dict[str, Any]:
    named = [
        {"node_id": f"{host}-id", "address": host, "host": host, "state": state, "live": live}
        for host, state, live in nodes
    ]
    return {"nodes": named, "live": sum(live for *_, live in nodes)}


def test_an_api_that_comes_back_in_time_is_asked_again(clock: Clock) -> None:
    api = Api(*[AWAY] * 20, *[RESTARTING] * 5, UNKNOWN, "answer")
    assert _patiently(lambda: api.get(""), 60) == "answer"
    assert clock.now == 26


@pytest.mark.parametrize(
    ("problem", "patience_s", "after_s"),
    [(AWAY, 0, 0), (AWAY, 30, 30), (WRONG_KEY, 30, 0), (UNKNOWN, 0, 0), (UNKNOWN, 30, 10)],
)
def test_patience_has_an_end_and_is_not_for_refusals(
    clock: Clock, problem: ApiProblem, patience_s: float, after_s: float
) -> None:
    with pytest.raises(ApiProblem):
        _patiently(lambda: Api(problem).get(""), patience_s)
    assert clock.now == after_s


def test_a_head_that_knows_no_nodes_yet_has_drained_none(clock: Clock) -> None:
    busy, empty = ("n-1", "draining", 2), ("n-1", "drained", 0)
    api: Any = Api(seen(), seen(), seen(busy), AWAY, seen(), seen(empty))
    wait_drained(api, "n-1", seen(busy))
    assert clock.now == 6


def test_a_node_that_stays_away_is_gone(clock: Clock) -> None:
    api: Any = Api(seen(("n-2", "active", 1)))
    wait_drained(api, "n-1", seen(("n-1", "draining", 1)))
    assert clock.now == AWAY_LOOKS
