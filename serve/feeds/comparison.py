"""A study's providers side by side, from the records of its sessions that have ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from agent_actor.contract import EndReason
from fleet.records import SessionRecord
from serve.feeds.series import milliseconds

FIRST_AUDIO = "first_audio"


@dataclass(frozen=True, kw_only=True)
class ProviderFigures:
    """``ended`` sessions, of which nobody came to ``no_shows``; ``completed`` of the others. A
    session counts with the provider it was begun with.

    ``interview_s``: from the agent in the room to the end, and ``spent_micro_usd``, of those that
    somebody came to. ``first_audio_ms``: from assignment to the interviewer's first sound.
    """

    provider: str
    ended: int
    no_shows: int
    completed: int
    interview_s: float
    spent_micro_usd: int
    first_audio_p50_ms: float | None
    first_audio_p95_ms: float | None

    @property
    def completion(self) -> float | None:
        """Share of those that somebody came to; None: there are none."""
        came = self.ended - self.no_shows
        return round(self.completed / came, 4) if came else None

    @property
    def micro_usd_per_minute(self) -> int | None:
        if not self.interview_s:
            return None
        return round(self.spent_micro_usd * 60 / self.interview_s)


@dataclass
class _Gathered:
    ended: int = 0
    no_shows: int = 0
    completed: int = 0
    interview_s: float = 0.0
    spent: int = 0
    first_audio_ms: list[float] = field(default_factory=list)

    def take(self, record: SessionRecord) -> None:
        self.ended += 1
        if record.end_reason is EndReason.NO_SHOW:
            self.no_shows += 1
            return
        self.completed += record.end_reason is EndReason.COMPLETED
        began_at = record.first_joined_at or record.joined_at
        if began_at is not None and record.ended_at is not None:
            self.interview_s += max(0.0, record.ended_at - began_at)
            self.spent += record.spent_micro_usd
        if (first_audio_s := record.timings_s.get(FIRST_AUDIO)) is not None:
            self.first_audio_ms.append(first_audio_s * 1000)


def compare(records: Iterable[SessionRecord]) -> tuple[ProviderFigures, ...]:
    """By provider, in order of their names. Sessions under way are left out."""
    gathered: dict[str, _Gathered] = {}
    for record in records:
        mine = gathered.setdefault(record.provider, _Gathered())
        if record.is_gone:
            mine.take(record)
    return tuple(_figures(name, gathered[name]) for name in sorted(gathered))


def _figures(provider: str, mine: _Gathered) -> ProviderFigures:
    return ProviderFigures(
        provider=provider,
        ended=mine.ended,
        no_shows=mine.no_shows,
        completed=mine.completed,
        interview_s=round(mine.interview_s, 1),
        spent_micro_usd=mine.spent,
        first_audio_p50_ms=milliseconds(mine.first_audio_ms, 0.5),
        first_audio_p95_ms=milliseconds(mine.first_audio_ms, 0.95),
    )
