"""What is known of a session while it runs, and the one way to write it down."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent_actor.checkpoint import Checkpoint
from agent_actor.contract import EndReason, SessionState
from agent_actor.errors import AgentError
from agent_actor.journal import EventKind, LiveState
from agent_actor.journal_writer import JournalWriter

Watch = Callable[[EventKind, Mapping[str, Any]], None]


@dataclass
class Outcome:
    """The ending as it comes to be known. The first reason and the first error stay."""

    reason: EndReason | None = None
    error: AgentError | None = None
    metadata_wait_s: float | None = None
    first_audio_s: float | None = None
    unmapped: tuple[str, ...] = ()
    provider_sessions: list[str] = field(default_factory=list)

    def end(self, reason: EndReason, error: AgentError | None = None) -> None:
        self.reason = self.reason or reason
        self.error = self.error or error


class Recorder:
    """Writes events into the journal and keeps the live state beside them up to date.

    ``refresh`` fills in what others know (phase, money, who speaks); it is asked at each change.
    ``watch`` is shown every event.
    """

    def __init__(self, journal: JournalWriter, watch: Watch = lambda kind, data: None) -> None:
        self._journal = journal
        self._watch = watch
        self._state = SessionState.ASSIGNED
        self.outcome = Outcome()
        self.refresh: Callable[[LiveState], LiveState] = lambda live: live

    @property
    def state(self) -> SessionState:
        return self._state

    def record(self, kind: EventKind, **data: Any) -> None:
        self._journal.record(kind, **data)
        self._watch(kind, data)
        self.publish()

    def enter(self, state: SessionState, **more: Any) -> None:
        """Move to a later state; going to the same one again says nothing. ``more`` is said too."""
        if state is self._state:
            return
        self._state = state
        data: dict[str, Any] = {"state": state.value, **more}
        if self.outcome.reason is not None:
            data["reason"] = self.outcome.reason.value
        self.record(EventKind.STATE, **data)

    def keep(self, texts: Callable[[], Mapping[str, str] | None]) -> None:
        """Where the checkpoint comes from; see JournalWriter."""
        self._journal.keep(texts)

    async def recall(self) -> Checkpoint | None:
        """What an earlier attempt left; see JournalWriter."""
        return await self._journal.recall()

    def publish(self) -> None:
        attempt = self._journal.attempt
        live = self.refresh(LiveState(state=self._state.value, attempt=attempt))
        self._journal.live(replace(live, updated_at=time.time()))

    def note(self, text: str) -> None:
        self.record(EventKind.NOTE, text=text)
