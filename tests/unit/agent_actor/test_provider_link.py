from __future__ import annotations

import asyncio
from typing import Any, cast

from livekit.agents import ErrorEvent, llm

from agent_actor.errors import AgentError, ProviderRefused, ProviderUnavailable
from agent_actor.journal import EventKind, LiveState
from agent_actor.journal_writer import JournalWriter
from agent_actor.provider_link import ProviderLink
from agent_actor.providers.base import Connected, Disconnected
from agent_actor.recorder import Recorder
from agent_actor.spending import Spending
from tests.unit.agent_actor.virtual_time import run, settle

PATIENCE_S = 20.0
CUT = Disconnected(cut_short=True)
LEFT = Disconnected(planned=True)


class Journal:
    attempt = 1

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def record(self, kind: EventKind, **data: Any) -> None:
        assert kind is EventKind.PROVIDER
        self.entries.append(data)

    def live(self, state: LiveState) -> None:
        pass


class Money:
    def __init__(self) -> None:
        self.told: list[str] = []

    def connected(self) -> None:
        self.told.append("connected")

    def connection_lost(self) -> None:
        self.told.append("lost")


class Linked:
    def __init__(self) -> None:
        self.journal, self.money = Journal(), Money()
        self.back: list[tuple[Connected, Disconnected]] = []
        self.failed: list[AgentError] = []
        self.recorder = Recorder(cast(JournalWriter, self.journal))
        self.link = ProviderLink(
            recorder=self.recorder,
            spending=cast(Spending, self.money),
            patience_s=PATIENCE_S,
            on_back=lambda event, lost: self.back.append((event, lost)),
            on_failed=self.failed.append,
        )


def test_a_session_that_is_resumed_is_one_session() -> None:
    async def test() -> None:
        it = Linked()
        for _ in range(2):
            it.link.connected(Connected(id="a"))
            it.link.disconnected(LEFT)
        assert it.recorder.outcome.provider_sessions == ["a"]

    run(test)


def test_the_first_connection_is_ready_and_the_next_is_back() -> None:
    async def test() -> None:
        it = Linked()
        it.link.connected(Connected(id="a"))
        assert it.link.ready.done()
        assert it.back == []
        it.link.disconnected(LEFT)
        it.link.connected(Connected(id="b", unanswered=True))
        assert it.back == [(Connected(id="b", unanswered=True), LEFT)]
        assert it.money.told == ["connected", "lost", "connected"]
        assert it.recorder.outcome.provider_sessions == ["a", "b"]
        assert [e["change"] for e in it.journal.entries] == [
            "connected",
            "disconnected",
            "reconnected",
        ]
        it.link.aclose()

    run(test)


def test_what_was_lost_is_not_forgotten_over_a_connection_that_never_was_set_up() -> None:
    async def test() -> None:
        it = Linked()
        it.link.connected(Connected())
        it.link.disconnected(CUT)
        it.link.disconnected(LEFT)
        assert it.link.owes_words
        it.link.connected(Connected())
        assert not it.link.owes_words
        it.link.disconnected(LEFT)
        it.link.connected(Connected())
        assert [lost for _, lost in it.back] == [CUT, LEFT]
        it.link.aclose()

    run(test)


def test_a_provider_is_given_up_when_it_is_away_for_too_long_and_not_before() -> None:
    async def test() -> None:
        it = Linked()
        it.link.connected(Connected())
        it.link.disconnected(CUT)
        await asyncio.sleep(PATIENCE_S - 1)
        it.link.connected(Connected())
        await asyncio.sleep(PATIENCE_S + 1)
        assert it.failed == []
        it.link.disconnected(CUT)
        await asyncio.sleep(PATIENCE_S + 1)
        (error,) = it.failed
        assert isinstance(error, ProviderUnavailable)
        assert "20 s" in str(error)

    run(test)


def test_nothing_is_given_up_after_the_end() -> None:
    async def test() -> None:
        it = Linked()
        it.link.connected(Connected())
        it.link.disconnected(CUT)
        it.link.aclose()
        await asyncio.sleep(PATIENCE_S + 1)
        assert it.failed == []

    run(test)


def test_a_refusal_is_not_waited_for() -> None:
    async def test() -> None:
        it = Linked()
        problem = llm.RealtimeModelError(
            timestamp=0.0,
            label="x",
            error=RuntimeError("insufficient_quota"),
            recoverable=True,
        )
        it.link.on_error(ErrorEvent(error=problem, source=cast(Any, None)))
        await settle()
        assert isinstance(it.failed[0], ProviderRefused)
        assert isinstance(it.link.ready.exception(), ProviderRefused)

    run(test)
