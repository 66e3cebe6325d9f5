"""Sessions that an earlier supervisor began: their actors live on, but the references to their
runs went with it. What they wrote down about their end stands in the journal.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from agent_actor.contract import ActorId, EndReason, SessionId, SessionState, StudyId
from agent_actor.journal import EventKind, LiveState
from agent_actor.messages import SessionResult
from fleet.endings import Sleep
from fleet.errors import ActorLost, FleetError
from fleet.journal import JournalEntry
from fleet.parts import StartRequest
from fleet.records import SessionRecord
from fleet.session_actors import SessionActors

WATCH_INTERVAL_S = 1.0
LONGEST_SESSION_S = 24 * 3600.0
"""The contract's own bound. An adopted session's actor knows its shorter one, the record not."""
_PAGE = 500


class JournalReader(Protocol):
    """The part of fleet.journal.Journal that is used here."""

    async def live(self, session_id: str) -> LiveState | None: ...

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
        session_timeout_s=LONGEST_SESSION_S,
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
            return replace(_result(record, EndReason.DRAINED), handed_over=True)
        if (reason := await last_words(record, journal)) is not None:
            return _result(record, reason)
        try:
            await actors.ping(actor_id)
        except ActorLost:
            # Its last words may have come between the two questions.
            if (reason := await last_words(record, journal)) is None:
                raise
            return _result(record, reason)
        except FleetError:
            pass
        await sleep(WATCH_INTERVAL_S)


async def handed_over(record: SessionRecord, journal: JournalReader) -> bool:
    """Whether its actor has left it to another."""
    try:
        live = await journal.live(record.session_id)
    except FleetError:
        return False
    return live is not None and live.handed_over


async def last_words(record: SessionRecord, journal: JournalReader) -> EndReason | None:
    """Why this attempt of the session ended, by its own account; None if it gave none (yet)."""
    try:
        live = await journal.live(record.session_id)
        if live is None or live.state != SessionState.GONE:
            return None
        return await _reason_written(record, journal)
    except FleetError:
        return None


async def _reason_written(record: SessionRecord, journal: JournalReader) -> EndReason | None:
    after: str | None = None
    found: EndReason | None = None
    while page := await journal.read(record.session_id, after_id=after, limit=_PAGE):
        for entry in page:
            said = entry.event
            if said.kind is EventKind.STATE and entry.says_gone and said.attempt == record.attempt:
                found = EndReason(said.data.get("reason", EndReason.COMPLETED))
        after = page[-1].id
    return found


def _result(record: SessionRecord, reason: EndReason) -> SessionResult:
    return SessionResult(
        session_id=SessionId(record.session_id),
        attempt=record.attempt,
        end_reason=reason,
        usage=None,
        duration_s=0.0,
    )
