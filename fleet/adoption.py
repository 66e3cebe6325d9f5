"""Sessions that an earlier supervisor began: their actors live on, but the references to their
runs went with it. What they wrote down about their end stands in the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Protocol

from agent_actor.contract import ActorId, EndReason, SessionId, SessionState, StudyId
from agent_actor.journal import EventKind, JournalEvent, LiveState
from agent_actor.messages import PhaseTiming, SessionResult, UsageReport
from fleet.endings import Sleep
from fleet.errors import ActorLost, FleetError
from fleet.journal import JournalEntry
from fleet.parts import StartRequest
from fleet.records import SessionRecord
from fleet.session_actors import SessionActors

WATCH_INTERVAL_S = 1.0
LONGEST_SESSION_S = 24 * 3600.0
"""The contract's own bound, for a record that does not say."""
_PAGE = 500


class JournalReader(Protocol):
    """The part of fleet.journal.Journal that is used here."""

    async def live(self, session_id: str) -> LiveState | None: ...

    async def contract(self, session_id: str) -> str | None: ...

    async def read(
        self, session_id: str, *, after_id: str | None = None, limit: int = 200
    ) -> list[JournalEntry]: ...


def request_of(record: SessionRecord) -> StartRequest:
    return StartRequest(
        session_id=SessionId(record.session_id),
        study_id=StudyId(record.study_id),
        provider=record.provider,
        room=record.room,
        allowance=None,
        limit_micro_usd=record.limit_micro_usd,
        session_timeout_s=record.session_timeout_s or LONGEST_SESSION_S,
        model=record.model,
        traceparent=record.traceparent,
        first_comer_as=record.participant_identity if record.first_comer else None,
    )


async def watch(
    record: SessionRecord,
    actors: SessionActors,
    journal: JournalReader,
    sleep: Sleep,
) -> SessionResult:
    """Returns when the session has written that it is gone, with its reason. Raises ActorLost
    when its actor died without a word.
    """
    actor_id = ActorId(record.actor_id or "")
    while True:
        if await handed_over(record, journal):
            return _handed_over(record)
        if (result := await last_words(record, journal)) is not None:
            return result
        try:
            await actors.ping(actor_id)
        except ActorLost:
            # Its last words may have come between the two questions.
            if (result := await last_words(record, journal)) is None:
                raise
            return result
        except FleetError:
            pass
        await sleep(WATCH_INTERVAL_S)


async def handed_over(record: SessionRecord, journal: JournalReader) -> bool:
    """Whether its actor has left it to another. What its predecessor left behind is not its own."""
    try:
        live = await journal.live(record.session_id)
    except FleetError:
        return False
    return live is not None and live.handed_over and live.attempt in (0, record.attempt)


async def last_words(record: SessionRecord, journal: JournalReader) -> SessionResult | None:
    """What became of this attempt of the session, by its own account; None if it gave none (yet).
    Its usage only where the ledger was not told."""
    try:
        live = await journal.live(record.session_id)
        if live is None or live.state != SessionState.GONE:
            return None
        return told(record, await _read(record, journal))
    except FleetError:
        return None


def told(record: SessionRecord, entries: Sequence[JournalEntry]) -> SessionResult | None:
    """``entries``: the whole journal. Of the phases' ends only what follows from the next one's
    beginning is known."""
    ends = [e.event for e in entries if e.says_gone and e.event.attempt == record.attempt]
    if not ends:
        return None
    events = [entry.event for entry in entries]
    return SessionResult(
        session_id=SessionId(record.session_id),
        attempt=record.attempt,
        end_reason=EndReason(ends[-1].data.get("reason", EndReason.COMPLETED)),
        usage=unheard(ends[-1]),
        phases=_phases(events),
        duration_s=ends[-1].at - min(e.at for e in events if e.attempt == record.attempt),
        provider_sessions=tuple(
            dict.fromkeys(
                e.data["provider_session"]
                for e in events
                if e.kind is EventKind.PROVIDER and e.data.get("provider_session")
            )
        ),
    )


def unheard(event: JournalEvent) -> UsageReport | None:
    """What an attempt had used in all, if it ended while the budget actor was away."""
    try:
        return UsageReport.from_dict(event.data["report"])
    except (KeyError, TypeError):
        return None


def _phases(events: Sequence[JournalEvent]) -> tuple[PhaseTiming, ...]:
    entered = [
        e.data for e in events if e.kind is EventKind.PHASE and e.data.get("change") == "entered"
    ]
    return tuple(
        PhaseTiming(
            phase_id=data["phase_id"],
            entered_s=float(data["elapsed_s"]),
            left_s=None if following is None else float(following["elapsed_s"]),
            cause=data["cause"],
        )
        for data, following in zip_longest(entered, entered[1:])
    )


async def _read(record: SessionRecord, journal: JournalReader) -> list[JournalEntry]:
    entries: list[JournalEntry] = []
    after: str | None = None
    while page := await journal.read(record.session_id, after_id=after, limit=_PAGE):
        entries += page
        after = page[-1].id
    return entries


def _handed_over(record: SessionRecord) -> SessionResult:
    return SessionResult(
        session_id=SessionId(record.session_id),
        attempt=record.attempt,
        end_reason=EndReason.DRAINED,
        usage=None,
        duration_s=0.0,
        handed_over=True,
    )
