"""One actor's try at a session: hand it over, wait for the agent in the room, follow it to its
end, stop it when asked.

Stopping goes in three steps: goodbye, then now, then the actor is killed. Each step's time runs
from its order, not from the actor's answer to it: one whose loop is blocked never answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from agent_actor.contract import ActorId, EndReason, SessionId
from agent_actor.errors import AgentError
from agent_actor.messages import JoinReport, SessionResult, StopMode
from fleet import attempts
from fleet.attempts import AttemptEnd
from fleet.errors import FleetError, NoAnswer
from fleet.session_actors import SessionActors
from fleet.stopping import StopSwitch, cancelled, first_of

RESULT_DEADLINE_S = 5.0
"""For an actor that is dead, or has said why it could not join, to end its run too."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class AttemptLimits:
    join_timeout_s: float
    goodbye_grace_s: float
    """Between asking for a goodbye and asking to stop at once."""
    stop_grace_s: float
    """Between asking to stop at once and killing the actor."""
    longest_s: float
    """A session that has not ended itself by then is stopped at once."""


class AttemptRun:
    """Use once. ``work`` is the actor's run: it ends with the result, or at once with the actor's
    death."""

    def __init__(
        self,
        *,
        actor_id: ActorId,
        session_id: SessionId,
        work: Coroutine[Any, Any, SessionResult],
        actors: SessionActors,
        limits: AttemptLimits,
        switch: StopSwitch,
        on_joined: Callable[[JoinReport], Awaitable[None]],
        on_stopping: Callable[[], Awaitable[None]],
    ) -> None:
        self._actor_id = actor_id
        self._session_id = session_id
        self._work = work
        self._actors = actors
        self._limits = limits
        self._switch = switch
        self._on_joined = on_joined
        self._on_stopping = on_stopping
        self.joined = False
        self.killed_for: str | None = None
        """The end reason that it did not obey, or JOIN_TIMEOUT."""

    async def run(self) -> AttemptEnd:
        """Raises nothing of its own. Cancelled, it leaves the actor as it is."""
        run = asyncio.create_task(self._work)
        join = asyncio.create_task(
            self._actors.joined(self._actor_id, self._session_id, self._limits.join_timeout_s)
        )
        try:
            await first_of(run, join, self._switch.asked)
            if join.done():
                await self._after_join(join, run)
            await self._until_over(run)
            return self._end_of(run)
        finally:
            await cancelled(run, join)

    async def _after_join(
        self, join: asyncio.Task[JoinReport], run: asyncio.Task[SessionResult]
    ) -> None:
        error = join.exception()
        if error is None:
            self.joined = True
            await self._on_joined(join.result())
        elif isinstance(error, NoAnswer):
            await self._kill(run)
        elif isinstance(error, (AgentError, FleetError)):
            # The run says the same and more, or ends with the actor's death: at once.
            await first_of(run, timeout_s=RESULT_DEADLINE_S)
        else:
            raise error

    async def _until_over(self, run: asyncio.Task[SessionResult]) -> None:
        """Returns when the run is over, by itself or because it was stopped."""
        if self.killed_for:
            return
        if not await first_of(run, self._switch.asked, timeout_s=self._limits.longest_s):
            log.warning("session_overtime", session_id=self._session_id)
            self._switch.throw(EndReason.SESSION_TIMEOUT, StopMode.NOW)
        if run.done():
            return
        # Nor may a record that cannot be written keep the actor alive meanwhile.
        noting = asyncio.ensure_future(self._on_stopping())
        try:
            await self._stop(run)
        finally:
            await cancelled(noting)

    async def _stop(self, run: asyncio.Task[SessionResult]) -> None:
        grace_s = self._limits.goodbye_grace_s
        if not self._switch.hurry.is_set():
            await self._order(StopMode.GOODBYE, run, self._switch.hurry, grace_s=grace_s)
        if not run.done():
            await self._order(StopMode.NOW, run, grace_s=self._limits.stop_grace_s)
        if not run.done():
            await self._kill(run)

    async def _order(
        self, mode: StopMode, *until: asyncio.Future[Any] | asyncio.Event, grace_s: float
    ) -> None:
        telling = asyncio.create_task(self._tell(mode))
        try:
            await first_of(*until, timeout_s=grace_s)
        finally:
            await cancelled(telling)

    async def _tell(self, mode: StopMode) -> None:
        order = self._switch.order(mode)
        try:
            if order is not None:
                await self._actors.stop(self._actor_id, order)
        except FleetError as error:
            log.warning("stop_not_delivered", session_id=self._session_id, error=str(error))

    async def _kill(self, run: asyncio.Task[SessionResult]) -> None:
        reason = self._switch.reason
        self.killed_for = reason.value if reason else attempts.JOIN_TIMEOUT
        log.warning(
            "session_actor_killed",
            session_id=self._session_id,
            actor_id=self._actor_id,
            cause=self.killed_for,
        )
        self._actors.kill(self._actor_id)
        await first_of(run, timeout_s=RESULT_DEADLINE_S)

    def _end_of(self, run: asyncio.Task[SessionResult]) -> AttemptEnd:
        ordered = self._switch.order()
        if run.done() and (error := run.exception()) is None:
            return attempts.end_of_result(run.result(), joined=self.joined)
        if self.killed_for and ordered is None:
            return attempts.end_of_loss(
                attempts.JOIN_TIMEOUT,
                f"the agent was not in the room within {self._limits.join_timeout_s:g} s",
                joined=self.joined,
                ordered=None,
            )
        if not run.done():
            return attempts.end_of_loss(
                "actor_no_answer", "no result", joined=self.joined, ordered=ordered
            )
        code = error.code if isinstance(error, (FleetError, AgentError)) else "internal_error"
        return attempts.end_of_loss(code, str(error), joined=self.joined, ordered=ordered)
