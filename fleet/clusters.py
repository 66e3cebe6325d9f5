"""Which sessions are this cluster's to look after, where several share one registry, as for the
length of an upgrade: its own, and those of a cluster that is gone. Pure.

Each cluster's supervisor counts up a beat. Another's is believed to be gone when its beat has stood
still, or was not to be seen, for long enough by our own clock; nothing is concluded from a time in
which we did not look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fleet.records import SessionRecord

GONE_AFTER_S = 60.0
"""Longer than a supervisor takes to be back on another node."""
MOST_APART_S = 20.0
"""Looks further apart than this are not in a row."""
_NOT_SEEN = 0


@dataclass(frozen=True, kw_only=True)
class _Heard:
    beat: int
    since: float


class Clusters:
    """``own``: this cluster's name."""

    def __init__(self, own: str, *, gone_after_s: float = GONE_AFTER_S) -> None:
        self.own = own
        self._gone_after_s = gone_after_s
        self._others: dict[str, _Heard] = {}
        self._looked_at = 0.0

    def heard(self, beats: Mapping[str, int], now: float) -> None:
        """Every cluster's beat, from 1, at ``now`` of any steady clock."""
        before = self._others
        if now - self._looked_at > MOST_APART_S:
            before = {name: replace(heard, since=now) for name, heard in before.items()}
        self._looked_at = now
        self._others = {
            name: _since(before.get(name), beats.get(name, _NOT_SEEN), now)
            for name in beats.keys() | before.keys()
            if name != self.own
        }

    def gone(self) -> list[str]:
        """Those whose beat stands still."""
        return [
            name
            for name, heard in self._others.items()
            if heard.beat != _NOT_SEEN and not self._is_there(heard)
        ]

    def cares_for(self, record: SessionRecord) -> bool:
        """Whether this cluster is to look after the session. One of nobody's is ours."""
        if record.cluster is None or record.cluster == self.own:
            return True
        # It may have begun since the last look: its time counts from here.
        unseen = _Heard(beat=_NOT_SEEN, since=self._looked_at)
        return not self._is_there(self._others.setdefault(record.cluster, unseen))

    def _is_there(self, heard: _Heard) -> bool:
        return self._looked_at - heard.since < self._gone_after_s


def _since(before: _Heard | None, beat: int, now: float) -> _Heard:
    if before is not None and beat in (before.beat, _NOT_SEEN):
        return replace(before, beat=beat)
    return _Heard(beat=beat, since=now)
