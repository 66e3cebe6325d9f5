"""What a session meets that it should not: each ends for the right reason and leaves nothing."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr

from agent_actor.contract import MAX_METADATA_BYTES, EndReason
from agent_actor.journal import EventKind
from agent_actor.messages import (
    Allowance,
    SessionResult,
    StopMode,
    StopOrder,
    UsageReport,
)
from agent_actor.settings import AgentSettings
from fleet.livekit_client import LiveKitClient
from fleet.local.livekit import LiveKitAccess
from fleet.local.simulators import Simulator
from loadtest.participants.report import ParticipantSummary
from tests.integration.interviews import (
    Run,
    clear_faults,
    contract,
    invoice_pico,
    leaving_nothing,
    running,
    set_fault,
    set_script,
    settings_for,
)

# The google plugin reads a field of websockets' errors that is deprecated; as an error that ends
# its main loop.
pytestmark = pytest.mark.filterwarnings("ignore:ConnectionClosed.code is deprecated")

OPENAI, GEMINI = "openai_realtime", "gemini_live"
PROVIDERS = (OPENAI, GEMINI)
JOIN_S = 10.0
CLOSED_PORT_HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Parts:
    livekit: LiveKitAccess
    redis_url: str
    simulators: dict[str, Simulator]

    def settings(self, **changes: Any) -> AgentSettings:
        redis_url = changes.pop("redis_url", self.redis_url)
        return settings_for(redis_url, *self.simulators.values(), **changes)


@pytest.fixture
async def real(
    livekit_server: LiveKitAccess,
    redis_server: str,
    openai_simulator: Simulator,
    gemini_simulator: Simulator,
) -> AsyncIterator[Parts]:
    """The parts; whatever a test does to them, it must leave nothing behind in them."""
    simulators = {OPENAI: openai_simulator, GEMINI: gemini_simulator}
    async with leaving_nothing(*simulators.values()):
        yield Parts(livekit=livekit_server, redis_url=redis_server, simulators=simulators)
    for simulator in simulators.values():
        await clear_faults(simulator)


async def ended(run: Run, within_s: float) -> SessionResult:
    """The result, with the agent out of the room."""
    async with asyncio.timeout(within_s):
        result = await asyncio.shield(run.result)
    await run.agent_gone()
    return result


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind((CLOSED_PORT_HOST, 0))
        return int(found.getsockname()[1])


# --- metadata

GOOD = json.dumps(contract(no_show_seconds=0.3))
TOO_LARGE = json.dumps(contract(instructions="x" * MAX_METADATA_BYTES))


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """``first`` stands in the room before the agent comes, ``later`` is written ``after_ms`` it
    joined. With neither good the session gives up and says ``problem``; else it goes on, with
    ``problem`` in its journal.
    """

    name: str
    first: str = ""
    later: str | None = None
    after_ms: int = 0
    problem: str | None = None


NEVER_GOOD = (
    Metadata(name="missing", problem="the room had none"),
    Metadata(name="not JSON", first="hello", problem="not JSON"),
    Metadata(name="half-written", first=GOOD[:100], problem="not JSON"),
    Metadata(name="not an object", first="[1, 2]", problem="must be a JSON object"),
    Metadata(name="empty object", first="{}", problem="instructions"),
    Metadata(
        name="wrong type",
        first=json.dumps(contract(session_timeout_seconds="soon")),
        problem="session_timeout_seconds",
    ),
    Metadata(name="no phases", first=json.dumps(contract(phases=[])), problem="phases"),
    Metadata(
        name="unknown provider", first=json.dumps(contract("somebody_else")), problem="provider"
    ),
    Metadata(name="far too large", first=TOO_LARGE, problem=f"the limit is {MAX_METADATA_BYTES}"),
    Metadata(name="bad, then worse", first="{", later="[", after_ms=100, problem="not JSON"),
)

GOOD_IN_TIME = (
    *(Metadata(name=f"{ms} ms late", later=GOOD, after_ms=ms) for ms in (0, 50, 300, 480)),
    Metadata(
        name="half-written, then good",
        first=GOOD[:100],
        later=GOOD,
        after_ms=150,
        problem="not JSON",
    ),
    Metadata(
        name="wrong type, then good",
        first=json.dumps(contract(phases="all")),
        later=GOOD,
        after_ms=150,
        problem="phases",
    ),
    Metadata(
        name="too large, then good",
        first=TOO_LARGE,
        later=GOOD,
        after_ms=150,
        problem=f"the limit is {MAX_METADATA_BYTES}",
    ),
    Metadata(
        name="unknown keys",
        first=json.dumps(
            contract(
                no_show_seconds=0.3, colour="blue", vad_config={"silence_duration_ms": 600, "x": 1}
            )
        ),
    ),
)


def named(row: Any) -> str:
    return str(row.name)


@pytest.mark.parametrize("row", NEVER_GOOD, ids=named)
async def test_metadata_that_never_becomes_good_times_out(real: Parts, row: Metadata) -> None:
    default = row.name == "missing"
    settings = real.settings(**({} if default else {"metadata_timeout_s": 0.6}))
    async with running(real.livekit, settings, row.first) as run:
        await asyncio.wait_for(asyncio.shield(run.joined), JOIN_S)
        if row.later is not None:
            await asyncio.sleep(row.after_ms / 1000)
            await run.client.update_metadata(run.room, row.later)
        result = await ended(run, within_s=settings.metadata_timeout_s + 3)
    assert (result.end_reason, result.error_code) == (
        EndReason.METADATA_TIMEOUT,
        "metadata_timeout",
    )
    assert result.retryable
    assert result.error is not None
    assert row.problem is not None
    assert row.problem in result.error
    assert result.usage is None
    assert result.duration_s >= settings.metadata_timeout_s
    if default:
        assert 5.0 <= result.duration_s < 6.5


@pytest.mark.parametrize("row", GOOD_IN_TIME, ids=named)
async def test_metadata_that_is_good_in_time_is_waited_for(real: Parts, row: Metadata) -> None:
    async with running(real.livekit, real.settings(), row.first) as run:
        await asyncio.wait_for(asyncio.shield(run.joined), JOIN_S)
        if row.later is not None:
            await asyncio.sleep(row.after_ms / 1000)
            await run.client.update_metadata(run.room, row.later)
        result = await ended(run, within_s=8)
    assert (result.end_reason, result.error) == (EndReason.NO_SHOW, None)
    assert result.metadata_wait_s is not None
    # Written after the wait had begun, and by a call that takes a moment itself.
    assert row.after_ms / 1000 - 0.02 <= result.metadata_wait_s < row.after_ms / 1000 + 1.0
    (entry,) = run.seen(EventKind.METADATA)
    assert entry["wait_s"] == pytest.approx(result.metadata_wait_s, abs=1e-3)
    assert (row.problem is None) == (entry["problems"] == [])
    if row.problem is not None:
        assert row.problem in entry["problems"][0]


async def test_room_deleted_while_its_metadata_is_awaited_ends_the_session(real: Parts) -> None:
    async with running(real.livekit, real.settings(), "") as run:
        await asyncio.wait_for(asyncio.shield(run.joined), JOIN_S)
        await run.client.delete_room(run.room)
        result = await ended(run, within_s=3)
    assert result.end_reason is EndReason.OPERATOR
    assert result.duration_s < 3


async def test_stop_before_there_is_metadata_ends_the_session(real: Parts) -> None:
    async with running(real.livekit, real.settings(), "") as run:
        await asyncio.wait_for(asyncio.shield(run.joined), JOIN_S)
        run.session.stop(StopOrder(reason=EndReason.DRAINED))
        result = await ended(run, within_s=3)
    assert (result.end_reason, result.error) == (EndReason.DRAINED, None)
    assert result.duration_s < 3


# --- the room


async def test_tokens_that_livekit_refuses_fail_the_room(real: Parts) -> None:
    secret = SecretStr("another-secret-of-at-least-32-characters")
    access = real.livekit
    forger = LiveKitClient(url=access.url, api_key=access.api_key, api_secret=secret)
    owner = LiveKitClient(
        url=access.url, api_key=access.api_key, api_secret=SecretStr(access.api_secret)
    )
    tokens = {
        "wrong": forger.agent_token(room="any", identity="agent", ttl_s=60),
        # The server allows a minute of difference between clocks.
        "expired": owner.agent_token(room="any", identity="agent", ttl_s=-120),
        "not a token": "hello",
    }
    for name, token in tokens.items():
        async with running(access, real.settings(), GOOD, token=token) as run:
            result = await ended(run, within_s=5)
        assert result.end_reason is EndReason.ROOM_FAILED, name
        assert result.error_code == "room_token_rejected", (name, result.error)
        assert not result.retryable
        assert token not in str(result)
        assert not run.joined.done()


async def test_livekit_that_is_not_there_or_never_answers_is_unreachable(real: Parts) -> None:
    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _reader.read()
        writer.close()

    settings = real.settings(room_connect_timeout_s=1.5)
    server = await asyncio.start_server(mute, CLOSED_PORT_HOST, 0)
    async with server:
        ports = {
            "closed": closed_port(),
            "mute": server.sockets[0].getsockname()[1],
        }
        for name, port in ports.items():
            url = f"ws://{CLOSED_PORT_HOST}:{port}"
            async with running(real.livekit, settings, GOOD, url=url) as run:
                result = await ended(run, within_s=4)
            assert result.end_reason is EndReason.ROOM_FAILED, name
            assert result.error_code == "room_unreachable", name
            assert result.retryable
            assert result.duration_s < 3.5


# --- providers that never get as far as an interview


@dataclass(frozen=True, kw_only=True)
class Start:
    """A provider that fails at the start. ``fault`` None: only the key or the model is bad."""

    name: str
    provider: str
    fault: str | None = None
    params: dict[str, Any] | None = None
    changes: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    code: str
    retryable: bool = False
    says: str = ""


BAD_KEY = {"openai_api_key": SecretStr("invalid"), "google_api_key": SecretStr("invalid")}
STARTS = (
    Start(name="openai bad key", provider=OPENAI, settings=BAD_KEY, code="provider_refused"),
    Start(name="gemini bad key", provider=GEMINI, settings=BAD_KEY, code="provider_refused"),
    Start(
        name="openai no key",
        provider=OPENAI,
        settings={"openai_api_key": None},
        code="provider_key_missing",
        says="OPENAI_API_KEY",
    ),
    Start(
        name="gemini no key",
        provider=GEMINI,
        settings={"google_api_key": None},
        code="provider_key_missing",
        says="GOOGLE_API_KEY",
    ),
    Start(
        name="openai unknown voice",
        provider=OPENAI,
        changes={"voice": "nobody"},
        code="provider_refused",
        says="voice",
    ),
    Start(
        name="openai retired model",
        provider=OPENAI,
        changes={"model": "gpt-4o-realtime-preview"},
        code="model_retired",
        says="gpt-realtime",
    ),
    Start(
        name="openai unpriced model",
        provider=OPENAI,
        changes={"model": "gpt-imagined"},
        code="model_unpriced",
    ),
    Start(
        name="gemini unpriced model",
        provider=GEMINI,
        changes={"model": "gemini-imagined"},
        code="model_unpriced",
    ),
    Start(
        name="openai silent handshake",
        provider=OPENAI,
        fault="never_answer",
        params={"stage": "handshake"},
        code="provider_unavailable",
        retryable=True,
    ),
    Start(
        name="openai silent session",
        provider=OPENAI,
        fault="never_answer",
        params={"stage": "session"},
        code="provider_unavailable",
        retryable=True,
    ),
    Start(
        name="gemini silent session",
        provider=GEMINI,
        fault="never_answer",
        code="provider_unavailable",
        retryable=True,
    ),
    Start(
        name="openai always 429",
        provider=OPENAI,
        fault="http_429",
        code="provider_unavailable",
        retryable=True,
    ),
    Start(
        name="gemini always 429",
        provider=GEMINI,
        fault="http_429",
        code="provider_unavailable",
        retryable=True,
    ),
    Start(
        name="openai always 503",
        provider=OPENAI,
        fault="refuse",
        code="provider_unavailable",
        retryable=True,
    ),
    Start(
        name="gemini always 503",
        provider=GEMINI,
        fault="refuse",
        code="provider_unavailable",
        retryable=True,
    ),
)


@pytest.mark.parametrize("row", STARTS, ids=named)
async def test_provider_that_cannot_start_fails_the_session(real: Parts, row: Start) -> None:
    if row.fault is not None:
        await set_fault(
            real.simulators[row.provider], row.fault, count=None, params=row.params or {}
        )
    patience = {"provider_connect_timeout_s": 2.0} if row.retryable else {}
    settings = real.settings(**patience, **(row.settings or {}))
    metadata = json.dumps(contract(row.provider, **(row.changes or {})))
    async with running(real.livekit, settings, metadata) as run:
        result = await ended(run, within_s=12)
    assert result.end_reason is EndReason.PROVIDER_FAILED
    assert result.error_code == row.code, result.error
    assert result.retryable is row.retryable
    assert row.says in (result.error or "")
    # A refusal is final at once; only what may pass is waited for.
    assert result.duration_s < (8.0 if row.retryable else 4.0)
    assert result.usage is None or result.usage.spent_pico_usd == 0


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("how", ["stopped", "room deleted"])
async def test_provider_that_never_answers_is_not_waited_for_when_all_is_over(
    real: Parts, provider: str, how: str
) -> None:
    await set_fault(
        real.simulators[provider], "never_answer", count=None, params={"stage": "session"}
    )
    async with running(real.livekit, real.settings(), json.dumps(contract(provider))) as run:
        await asyncio.wait_for(asyncio.shield(run.joined), JOIN_S)
        await run.until(EventKind.METADATA, within_s=5)
        began = time.monotonic()
        if how == "stopped":
            run.session.stop(StopOrder(reason=EndReason.OPERATOR))
        else:
            await run.client.delete_room(run.room)
        result = await ended(run, within_s=8)
    assert (result.end_reason, result.error) == (EndReason.OPERATOR, None)
    # The provider alone would have been given ten seconds.
    assert time.monotonic() - began < 6


# --- interviews that something happens to

SHORT = {
    "phases": [{"id": "only", "name": "Only", "duration_seconds": 60}],
    "session_timeout_seconds": 90,
}
ONE_ANSWER = {"turns_per_phase": 1, "speech_s": [1.5, 2.0]}
BRIEF = {"name": "brief", "think_s": [0.3, 0.5], "answer_s": [1.5, 2.0]}
QUIET = {"name": "quiet", "silent": True}
DONE_S = 75.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    run: Run
    result: SessionResult
    heard: ParticipantSummary
    billed_pico: int

    @property
    def ending(self) -> tuple[EndReason, str | None]:
        return self.result.end_reason, self.result.error_code

    @property
    def spent_pico(self) -> int:
        assert self.result.usage is not None
        assert self.result.usage.final
        return self.result.usage.spent_pico_usd


class Interviews:
    """Short interviews of one phase, each with a text of its own that faults can be aimed at."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def fault(self, provider: str, match: str, kind: str, **params: Any) -> None:
        simulator = self._parts.simulators[provider]
        await set_fault(simulator, kind, match=match, params=params)

    async def hold(
        self,
        provider: str,
        name: str,
        *,
        script: Any = BRIEF,
        act: Callable[[Run], Coroutine[Any, Any, None]] | None = None,
        settings: dict[str, Any] | None = None,
        changes: dict[str, Any] | None = None,
        deadline_s: float = DONE_S,
        **running_options: Any,
    ) -> Outcome:
        """One interview to its end; ``act`` runs beside it once the agent has joined."""
        simulator = self._parts.simulators[provider]
        await set_script(simulator, name, **ONE_ANSWER)
        values = {**SHORT, "instructions": f"Interview {name}.", **(changes or {})}
        metadata = json.dumps(contract(provider, **values))
        chosen = self._parts.settings(**(settings or {}))
        async with running(self._parts.livekit, chosen, metadata, **running_options) as run:
            await asyncio.wait_for(asyncio.shield(run.joined), JOIN_S)
            async with asyncio.TaskGroup() as group:
                if act is not None:
                    group.create_task(act(run))
                both = group.create_task(run.with_participant(script, deadline_s=deadline_s))
            result, heard = both.result()
            await run.agent_gone()
            billed = await invoice_pico(simulator, result.provider_sessions)
        return Outcome(run=run, result=result, heard=heard, billed_pico=billed)


@pytest.fixture
def interviews(real: Parts) -> Interviews:
    return Interviews(real)


async def test_dropped_and_garbled_connections_are_taken_up_again(interviews: Interviews) -> None:
    """The interview goes on; what may have been billed is charged at its upper bound."""

    async def one(provider: str, kind: str, **params: Any) -> None:
        name = f"{kind}-{provider}-{len(str(params))}"
        await interviews.fault(provider, name, kind, **params)
        got = await interviews.hold(provider, name)
        assert got.ending == (EndReason.COMPLETED, None), (name, got.result.error)
        assert got.run.seen(EventKind.PROVIDER, change="disconnected"), name
        assert got.run.seen(EventKind.PROVIDER, change="reconnected"), name
        assert got.run.seen(EventKind.TURN, speaker="participant"), name
        assert got.spent_pico >= got.billed_pico > 0, name

    async with asyncio.TaskGroup() as group:
        for provider in PROVIDERS:
            group.create_task(one(provider, "drop_mid_response"))
            group.create_task(one(provider, "malformed_event"))
        for text in ("[]", "null"):
            group.create_task(one(OPENAI, "malformed_event", text=text))


async def test_slow_or_silent_about_usage_the_provider_still_ends_the_interview(
    interviews: Interviews,
) -> None:
    async def no_usage(provider: str) -> None:
        name = f"no-usage-{provider}"
        await interviews.fault(provider, name, "no_usage")
        got = await interviews.hold(provider, name)
        assert got.ending == (EndReason.COMPLETED, None), name
        assert got.result.usage is not None
        # The one without usage; and a last turn that was heard and not answered before the end.
        assert 1 <= got.result.usage.unpriced_responses <= 2, name
        assert got.spent_pico > got.billed_pico, name

    async def slow(provider: str) -> None:
        name = f"slow-{provider}"
        await interviews.fault(provider, name, "slow", ttfa_ms=4000)
        got = await interviews.hold(provider, name)
        assert got.ending == (EndReason.COMPLETED, None), name
        assert got.spent_pico == got.billed_pico, name

    async def odd(provider: str) -> None:
        name = f"odd-{provider}"
        text = '{"type": "response.done", "response": null}'
        await interviews.fault(provider, name, "malformed_event", text=text)
        got = await interviews.hold(provider, name)
        assert got.ending == (EndReason.COMPLETED, None), name
        assert got.spent_pico >= got.billed_pico, name

    async with asyncio.TaskGroup() as group:
        for provider in PROVIDERS:
            group.create_task(no_usage(provider))
            group.create_task(slow(provider))
        group.create_task(odd(OPENAI))


async def test_quota_that_ends_mid_interview_is_a_refusal(interviews: Interviews) -> None:
    async def one(provider: str) -> None:
        name = f"quota-{provider}"

        async def after_the_greeting(run: Run) -> None:
            await run.until(EventKind.TURN, speaker="interviewer", within_s=30)
            await interviews.fault(provider, name, "insufficient_quota")

        got = await interviews.hold(provider, name, act=after_the_greeting)
        assert got.ending == (EndReason.PROVIDER_FAILED, "provider_refused"), got.result.error
        assert not got.result.retryable
        assert "quota" in (got.result.error or "")
        assert got.spent_pico >= got.billed_pico > 0

    async with asyncio.TaskGroup() as group:
        for provider in PROVIDERS:
            group.create_task(one(provider))


async def test_connection_that_is_refused_for_a_moment_is_tried_again(
    real: Parts, interviews: Interviews
) -> None:
    async def one(provider: str, kind: str, number: int) -> None:
        key = f"key-for-{kind}-{number:04d}"
        fault = set_fault(real.simulators[provider], kind, match=key[-4:])
        await fault
        keys = {"openai_api_key": SecretStr(key), "google_api_key": SecretStr(key)}
        got = await interviews.hold(provider, f"{kind}-{provider}", settings=keys)
        assert got.ending == (EndReason.COMPLETED, None), (key, got.result.error)
        assert got.spent_pico == got.billed_pico, key

    async with asyncio.TaskGroup() as group:
        for number, provider in enumerate(PROVIDERS):
            group.create_task(one(provider, "http_429", 1000 + number))
            group.create_task(one(provider, "refuse", 2000 + number))


# --- the control plane's parts missing


async def test_redis_and_the_budget_actor_may_be_gone(interviews: Interviews) -> None:
    async def no_redis() -> None:
        got = await interviews.hold(
            OPENAI,
            "no-redis",
            settings={"redis_url": f"redis://{CLOSED_PORT_HOST}:{closed_port()}/0"},
            max_buffered=20,
        )
        assert got.ending == (EndReason.COMPLETED, None)
        assert got.spent_pico == got.billed_pico > 0
        assert got.run.journal.dropped > 0

    async def no_budget_actor() -> None:
        async def unreachable(_report: UsageReport) -> Allowance | None:
            raise ConnectionError("the budget actor is gone")

        expires_at = time.time() + 7
        got = await interviews.hold(
            OPENAI,
            "no-budget",
            script=QUIET,
            ask_budget=unreachable,
            expires_at=expires_at,
        )
        assert got.ending == (EndReason.BUDGET_EXCEEDED, None)
        # Not before, and not later than a goodbye takes and the final report is tried for.
        assert 0 <= time.time() - expires_at < 25
        assert len(got.run.seen(EventKind.BUDGET, verdict="end")) == 1
        assert got.spent_pico == got.billed_pico > 0

    async def no_money() -> None:
        got = await interviews.hold(GEMINI, "no-money", script=QUIET, limit_usd=0.0001)
        assert got.ending == (EndReason.BUDGET_EXCEEDED, None)
        assert got.spent_pico == got.billed_pico == 0

    async with asyncio.TaskGroup() as group:
        group.create_task(no_redis())
        group.create_task(no_budget_actor())
        group.create_task(no_money())


# --- people


async def test_who_comes_and_goes_decides_how_it_ends(interviews: Interviews) -> None:
    async def leaves(provider: str) -> None:
        got = await interviews.hold(
            provider,
            f"leaves-{provider}",
            script={**QUIET, "departures": [{"at_s": 2.5}]},
            changes={"reconnect_grace_seconds": 2},
        )
        assert got.ending == (EndReason.PARTICIPANT_LEFT, None)
        assert got.run.seen(EventKind.PARTICIPANT, change="left")
        assert got.spent_pico == got.billed_pico

    async def returns(provider: str) -> None:
        got = await interviews.hold(
            provider,
            f"returns-{provider}",
            script={**BRIEF, "departures": [{"at_s": 2.0, "away_s": 2.0}]},
        )
        assert got.ending == (EndReason.COMPLETED, None)
        changes = [entry["change"] for entry in got.run.seen(EventKind.PARTICIPANT)]
        assert changes[:3] in (["joined", "left", "returned"], ["present", "left", "returned"])
        back_s = got.heard.tally.joined_s[1]
        assert any(spurt.began_s > back_s for spurt in got.heard.tally.spurts)
        assert got.spent_pico == got.billed_pico

    async def deleted() -> None:
        async def delete(run: Run) -> None:
            await run.until(EventKind.AUDIO, within_s=30)
            await run.client.delete_room(run.room)

        got = await interviews.hold(OPENAI, "deleted", act=delete)
        assert got.ending == (EndReason.OPERATOR, None)
        assert got.spent_pico == got.billed_pico > 0

    async with asyncio.TaskGroup() as group:
        for provider in PROVIDERS:
            group.create_task(leaves(provider))
            group.create_task(returns(provider))
        group.create_task(deleted())


async def test_operator_stops_with_a_goodbye_or_at_once_to_the_cent(
    interviews: Interviews,
) -> None:
    """Stopped in the middle of a response, its bill is waited for."""

    async def stop(provider: str, mode: StopMode) -> None:
        async def mid_response(run: Run) -> None:
            await run.until(EventKind.AUDIO, within_s=30)
            run.session.stop(StopOrder(reason=EndReason.OPERATOR, mode=mode))
            run.session.stop(StopOrder(reason=EndReason.DRAINED, mode=mode))

        got = await interviews.hold(provider, f"stop-{mode}-{provider}", act=mid_response)
        assert got.ending == (EndReason.OPERATOR, None)
        usage = got.result.usage
        assert usage is not None
        assert usage.unpriced_responses == 0, (provider, mode)
        assert got.spent_pico == got.billed_pico > 0, (provider, mode)
        # A goodbye is a response of its own, after the greeting.
        assert usage.responses >= (2 if mode is StopMode.GOODBYE else 1)

    async with asyncio.TaskGroup() as group:
        for provider in PROVIDERS:
            for mode in StopMode:
                group.create_task(stop(provider, mode))
