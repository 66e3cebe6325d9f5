"""A session's provider as the session sees it: there, away, back again, given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from livekit.agents import CloseEvent, ErrorEvent

from agent_actor.errors import AgentError, ProviderRefused, ProviderUnavailable
from agent_actor.journal import EventKind
from agent_actor.providers.base import Connected, Disconnected
from agent_actor.providers.failures import classify
from agent_actor.recorder import Recorder
from agent_actor.spending import Spending

log = structlog.get_logger(__name__)

OnBack = Callable[[Connected, Disconnected], None]


class ProviderLink:
    """``connected`` and ``disconnected`` are the wire's taps, ``on_error`` and ``on_close`` the
    framework's events.

    ``on_back`` is called when the connection is there again, with how it was lost. ``on_failed``
    when it was refused for good, or is away for longer than ``patience_s``: perhaps more than
    once. ``ready`` is done with the first connection, or with the error that there is none.
    """

    def __init__(
        self,
        *,
        recorder: Recorder,
        spending: Spending,
        patience_s: float,
        on_back: OnBack,
        on_failed: Callable[[AgentError], None],
    ) -> None:
        self._recorder = recorder
        self._spending = spending
        self._patience_s = patience_s
        self._on_back = on_back
        self._on_failed = on_failed
        self._lost = Disconnected(planned=True)
        self._lost_at = 0.0
        self._patience: asyncio.TimerHandle | None = None
        self.error: AgentError | None = None
        """The last that went wrong."""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # What went wrong is told to ``on_failed`` too; nobody may be waiting here any more.
        self.ready.add_done_callback(lambda f: f.cancelled() or f.exception())

    @property
    def owes_words(self) -> bool:
        """It took words of the interviewer with it, and is not back to carry on."""
        return self._lost.cut_short

    def connected(self, event: Connected) -> None:
        self._spending.connected()
        self._keep_patience()
        known = self._recorder.outcome.provider_sessions
        # A session that is resumed on another connection keeps its id.
        if event.id and event.id not in known:
            known.append(event.id)
        if not self.ready.done():
            self.ready.set_result(None)
            self._recorder.record(EventKind.PROVIDER, change="connected", provider_session=event.id)
            return
        self._recorder.record(
            EventKind.PROVIDER,
            change="reconnected",
            provider_session=event.id,
            planned=self._lost.planned,
            cut_short=self._lost.cut_short,
            unanswered=event.unanswered,
            away_s=round(time.monotonic() - self._lost_at, 3),
        )
        lost, self._lost = self._lost, Disconnected(planned=True)
        self._on_back(event, lost)

    def disconnected(self, event: Disconnected) -> None:
        self._spending.connection_lost()
        # A connection that was there too briefly to be told of does not undo what went before.
        self._lost = Disconnected(
            planned=event.planned and self._lost.planned,
            cut_short=event.cut_short or self._lost.cut_short,
        )
        self._lost_at = time.monotonic()
        self._keep_patience()
        self._patience = asyncio.get_running_loop().call_later(self._patience_s, self._give_up)
        self._recorder.record(EventKind.PROVIDER, change="disconnected", planned=event.planned)

    def on_error(self, event: ErrorEvent) -> None:
        self.error = error = classify(getattr(event.error, "error", None))
        self._recorder.record(EventKind.PROVIDER, change="error", code=error.code)
        # The plugin would go on trying; a refusal does not get better by asking again.
        if isinstance(error, ProviderRefused):
            self._failed(error)

    def on_close(self, event: CloseEvent) -> None:
        if event.error is not None:
            self._failed(classify(getattr(event.error, "error", None)))

    def aclose(self) -> None:
        """Idempotent. Nothing is given up any more."""
        self._keep_patience()

    def _keep_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        told = f": {self.error}" if self.error else ""
        text = f"the provider was away for more than {self._patience_s:g} s{told}"
        self._failed(ProviderUnavailable(text))

    def _failed(self, error: AgentError) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
        self._on_failed(error)
