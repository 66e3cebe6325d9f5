"""What becomes of the connections that warm actors open ahead, counted for the fleet.

The roster hears it from the pulses of actors while they are warm, the supervisor from the results
of their sessions. Each fate is counted by one of them alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent_actor.contract import ActorId, EndReason
from agent_actor.messages import Pulse, SessionResult
from fleet.metrics import Metrics

METRIC = "fleet_preopened_total"
USED = "used"
NO_SHOW = "no_show"
"""Used by a session whose participant never came; counted as used too."""
UNUSED = "unused"
"""Still open when its actor was ended without a session."""
BY_PULSE = ("opened", "aged", "died", "failed")
BY_RESULT = (USED, "misfit")
WASTED = ("aged", "died", "misfit", NO_SHOW, UNUSED)


class PulseTally:
    """The roster's part. ``gone`` when an actor is ended, ``pulse`` before that, any number of
    times."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._last: dict[ActorId, Pulse] = {}

    @property
    def open(self) -> int:
        """Held by warm actors, as last heard."""
        return sum(1 for pulse in self._last.values() if pulse.ahead_open)

    def pulse(self, actor_id: ActorId, pulse: Pulse | None) -> None:
        if pulse is None:
            return
        before = self._last.get(actor_id)
        for fate in BY_PULSE:
            more = pulse.ahead.get(fate, 0) - (before.ahead.get(fate, 0) if before else 0)
            if more > 0:
                count(self._metrics, fate, more)
        self._last[actor_id] = pulse

    def begun(self, actor_id: ActorId) -> None:
        """It has a session now, whose result tells the rest."""
        self._last.pop(actor_id, None)

    def gone(self, actor_id: ActorId) -> None:
        last = self._last.pop(actor_id, None)
        if last is not None and last.ahead_open:
            count(self._metrics, UNUSED)


def count_result(metrics: Metrics, result: SessionResult) -> None:
    """The supervisor's part."""
    for fate in BY_RESULT:
        if result.preopened.get(fate):
            count(metrics, fate, result.preopened[fate])
    if result.preopened.get(USED) and result.end_reason is EndReason.NO_SHOW:
        count(metrics, NO_SHOW)


def count(metrics: Metrics, fate: str, more: int = 1) -> None:
    metrics.counter(METRIC, fate=fate).inc(more)


def counted(metrics: Metrics) -> dict[str, int]:
    """By fate, since this process began."""
    found = {
        fate: metrics.registry.get_sample_value(METRIC, {"fate": fate})
        for fate in (*BY_PULSE, *BY_RESULT, NO_SHOW, UNUSED)
    }
    return {fate: int(value) for fate, value in found.items() if value}


def wasted(*counts: Mapping[str, int]) -> int:
    """Of what has been opened: never used, or used by a session that nobody came to."""
    return sum(each.get(fate, 0) for each in counts for fate in WASTED)
