"""Which sessions are this cluster's to look after, where several share one registry, as for the
length of an upgrade: its own, and those of a cluster that is gone. Pure.

Each cluster's supervisor counts up a beat. Another's is believed to be gone when its beat has stood
still for long enough by our own clock; nothing is concluded from a time in which we did not look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fleet.records import SessionRecord

GONE_AFTER_S = 60.0
"""Longer than a supervisor takes to be back on another node."""
MOST_APART_S = 20.0
"""Looks further apart than this are not in a row."""


@dataclass(frozen=True, kw_only=True)
class _Heard:
    beat: int
    since: float


class Clusters:
    """``own``: this cluster's name."""

    def __init__(self, own: str, *, gone_after_s: float = GONE_AFTER_S) -> None:
        self.own = own
        self._gone_after_s = gone_after_s
        self._others: dict[str, _Heard] | None = None
        self._looked_at = 0.0

    def heard(self, beats: Mapping[str, int], now: float) -> None:
        """Every cluster's beat, at ``now`` of any steady clock. One that is missing is gone."""
        before = self._others or {}
        if now - self._looked_at > MOST_APART_S:
            before = {name: replace(heard, since=now) for name, heard in before.items()}
        self._looked_at = now
        self._others = {
            name: _since(before.get(name), beat, now)
            for name, beat in beats.items()
            if name != self.own
        }

    def gone(self) -> list[str]:
        """Those whose beat stands still."""
        others = self._others or {}
        return [name for name, heard in others.items() if not self._is_there(heard)]

    def cares_for(self, record: SessionRecord) -> bool:
        """Whether this cluster is to look after the session. One of nobody's is ours; before the
        first look another's is not."""
        if record.cluster is None or record.cluster == self.own:
            return True
        if self._others is None:
            return False
        heard = self._others.get(record.cluster)
        return heard is None or not self._is_there(heard)

    def _is_there(self, heard: _Heard) -> bool:
        return self._looked_at - heard.since < self._gone_after_s


def _since(before: _Heard | None, beat: int, now: float) -> _Heard:
    if before is not None and before.beat == beat:
        return before
    return _Heard(beat=beat, since=now)
