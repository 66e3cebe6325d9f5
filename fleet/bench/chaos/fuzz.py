"""Thousands of bad requests, webhooks, contracts and provider events, at a whole fleet: nothing may
crash, every refusal is typed, and nothing of it is left."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote, urlencode

import httpx
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from livekit import api

from agent_actor.contract import AgentError, Provider, SessionState, parse_strict
from fleet.bench import bad_input as bad
from fleet.bench.chaos import cluster
from fleet.bench.chaos.fault import Fault, Needs, Trials
from fleet.bench.chaos.stage import Stage
from fleet.bench.report import Bar, Measured, at_least, exactly, only_shown
from fleet.bench.waiting import until
from fleet.clients import RayBudgetClient
from fleet.errors import DispatchFailed

REQUESTS_EACH = 60
"""Of each kind, for each trial."""
TALKS_EVERY = 5
"""Trials for each interview whose provider talks nonsense, and each contract that is garbled."""
BEGUN_MOST = 10
"""Bodies that were changed and are good all the same: they begin interviews."""
AT_ONCE = 8
TALK_S = 90.0
LEFT_S = 60.0
CONTROL = ("SupervisorActor", "RosterActor", "BudgetActor")
HANDLED = frozenset({None, "provider_unavailable", "provider_refused", "metadata_timeout"})
"""How an interview may fail by what was done to it."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Ask:
    method: str
    path: str
    content: bytes = b""
    headers: dict[str, bytes] = field(default_factory=dict)


@dataclass(kw_only=True)
class Seen:
    answers: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    untyped: list[str] = field(default_factory=list)


def drawn(strategy: st.SearchStrategy[T], count: int, number: int) -> list[T]:
    """So many examples, the same for the same ``number``."""
    found: list[T] = []

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def take(example: T) -> None:
        found.append(example)

    take()
    return found


async def run(stage: Stage, trials: Trials) -> Measured:
    seen, before = Seen(), await _control()
    asks = _asks(stage, trials)
    with trials.progress.steps("bad requests and webhooks", len(asks)) as advance:
        await _each(asks, lambda ask: _ask(stage, ask, seen), advance)
    await _end(stage, seen)
    talks: list[Talk | Garbled] = [*_talks(trials), *_contracts(trials)]
    with trials.progress.steps("interviews with bad input", len(talks)) as advance:
        await _each(talks, lambda talk: talk.hold(stage, seen), advance, at_once=2)
    left = await _left(stage)
    crashed = [name for name, pid in before.items() if (await _control()).get(name) != pid]
    bars = _bars(seen, len(asks), len(talks), left, crashed)
    data = {
        "answers": {str(status): count for status, count in seen.answers.items()},
        "wrong": seen.wrong,
        "ends": dict(seen.ends),
        "untyped": seen.untyped,
        "left": left,
    }
    return Measured(bars=tuple(bars), seeds=(trials.seed,), data=data)


def _bars(
    seen: Seen, asked: int, talks: int, left: Sequence[str], crashed: Sequence[str]
) -> Iterator[Bar]:
    yield at_least("bad requests and webhooks answered", seen.answers.total(), asked, "")
    told = "; ".join(seen.wrong[:3])
    yield exactly("neither a success nor a problem that says why", len(seen.wrong), 0, "", told)
    for status, count in sorted(seen.answers.items()):
        yield only_shown(f"answered {status}", count, "")
    yield at_least("interviews with bad input", seen.ends.total(), talks, "", str(dict(seen.ends)))
    told = "; ".join(seen.untyped[:3])
    yield exactly("ended by an error of no type", len(seen.untyped), 0, "", told)
    yield exactly("left over", len(left), 0, "", ", ".join(left[:3]))
    yield exactly("control actors that crashed", len(crashed), 0, "", ", ".join(crashed))


# Requests


def _asks(stage: Stage, trials: Trials) -> list[Ask]:
    count, number = trials.count * REQUESTS_EACH, trials.seed
    key = stage.fleet.settings.livekit_api_key
    secret = stage.fleet.settings.livekit_api_secret.get_secret_value()
    bodies = drawn(bad.raw(bad.BODY), count, number)
    hooks = drawn(bad.raw(bad.WEBHOOK), count, number)
    good = [body for body in bodies if _is_good(body)]
    spared = set(good[BEGUN_MOST:])
    json_type = {"Content-Type": b"application/json"}
    return [
        *(
            Ask(method="POST", path="/v1/sessions", content=body, headers=_async(json_type))
            for body in bodies
            if body not in spared
        ),
        *(
            Ask(method="PATCH", path=path, content=body, headers=json_type)
            for path in ("/v1/sessions/s-none/limit", "/v1/studies/fuzz-limits/limit")
            for body in drawn(bad.raw({"limit_usd": "2.50"}), count, number)
        ),
        *(
            Ask(
                method="POST",
                path="/v1/livekit/webhook",
                content=body,
                headers={"Authorization": _signed(body, key, secret) if n % 2 else b"nonsense"},
            )
            for n, body in enumerate(hooks)
        ),
        *(Ask(method="GET", path=path) for path in drawn(_targets(), count, number)),
    ]


def _async(headers: dict[str, bytes]) -> dict[str, bytes]:
    return {**headers, "Prefer": b"respond-async"}


def _is_good(body: bytes) -> bool:
    """Whether, by the contract alone, it would begin an interview."""
    try:
        data = json.loads(body)
        rest = {k: v for k, v in data.items() if k not in ("provider", "participant")}
        parse_strict({**rest, "provider": "openai_realtime"})
    except (AgentError, ValueError, RecursionError, AttributeError, TypeError):
        return False
    return True


@st.composite
def _targets(draw: st.DrawFn) -> str:
    path = draw(
        st.sampled_from(
            (
                *("/v1/sessions", "/v1/sessions/{}", "/v1/sessions/{}/cost", "/v1/studies/{}/cost"),
                *("/v1/sessions/{}/transcript", "/v1/sessions/{}/cost.csv", "/v1/{}"),
            )
        )
    )
    name = quote(draw(st.text(max_size=60)), safe="", errors="replace")
    names = st.sampled_from(("limit", "cursor", "state", "study_id", "x"))
    query = draw(st.dictionaries(names, st.text(max_size=60) | bad.ODD_TEXTS, max_size=3))
    short = {name: value[:500] for name, value in query.items()}
    return f"{path.format(name)}?{urlencode(short, errors='replace')}"


def _signed(body: bytes, key: str, secret: str) -> bytes:
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return api.AccessToken(key, secret).with_sha256(digest).to_jwt().encode()


async def _ask(stage: Stage, ask: Ask, seen: Seen) -> None:
    try:
        answer = await stage.http.request(
            ask.method,
            ask.path,
            content=ask.content,
            headers=[(name.encode(), value) for name, value in ask.headers.items()],
            timeout=60.0,
        )
    except httpx.HTTPError as error:
        seen.wrong.append(f"{ask.method} {ask.path}: {type(error).__name__}")
        return
    seen.answers[answer.status_code] += 1
    if (wrong := _wrong(answer)) is not None:
        seen.wrong.append(f"{ask.method} {ask.path} {ask.content[:200]!r}: {wrong}")
    elif ask.path == "/v1/sessions" and answer.status_code in (201, 202):
        seen.begun.append(answer.json()["session_id"])


def _wrong(answer: httpx.Response) -> str | None:
    """What is wrong with an answer; None: nothing."""
    if answer.status_code < 400:
        return None
    if answer.headers.get("Content-Type") != "application/problem+json":
        return f"{answer.status_code} without a problem document"
    problem = answer.json()
    if answer.status_code == 500 or not problem.get("code"):
        return f"{answer.status_code} {problem}"
    errors = problem.get("errors") or ()
    if answer.status_code == 422 and not any("field" in each for each in errors):
        return f"422 names no field: {problem}"
    return None


async def _end(stage: Stage, seen: Seen) -> None:
    for session_id in seen.begun:
        with suppress(httpx.HTTPError):
            await stage.http.delete(f"/v1/sessions/{session_id}")


# Interviews


@dataclass(frozen=True, kw_only=True)
class Talk:
    """The provider says these in the midst of its responses."""

    provider: Provider
    messages: Sequence[str]

    async def hold(self, stage: Stage, seen: Seen) -> None:
        interview = await stage.begin(provider=self.provider)
        for text in self.messages:
            fields = {"count": 1, "params": {"text": text}}
            await stage.strike(self.provider, interview.mark, "malformed_event", **fields)
        record = await interview.over(TALK_S)
        if not record.is_gone:
            await stage.end_all([interview])
            record = await interview.record()
        _note(seen, record.end_reason, record.error_code, self.messages)


@dataclass(frozen=True, kw_only=True)
class Garbled:
    """The room's metadata becomes this as the agent comes."""

    text: str

    async def hold(self, stage: Stage, seen: Seen) -> None:
        try:
            interview = await stage.begin(participant=None, contract={"no_show_seconds": 5.0})
        except DispatchFailed as error:
            _note(seen, "not begun", error.cause_code, self.text)
            return
        # What came too late for it to read must not matter to it any more either.
        with suppress(Exception):
            await stage.rooms.update_metadata(interview.room, self.text)
        record = await interview.over(TALK_S)
        _note(seen, record.end_reason, record.error_code, self.text)


def _note(seen: Seen, reason: str | None, code: str | None, given: object) -> None:
    seen.ends[f"{reason} {code or ''}".strip()] += 1
    if reason is None or code not in HANDLED:
        seen.untyped.append(f"{reason} {code}: {str(given)[:300]}")


def _talks(trials: Trials) -> list[Talk]:
    found: list[Talk] = []
    for provider, good in (
        (Provider.OPENAI_REALTIME, bad.OPENAI_EVENTS),
        (Provider.GEMINI_LIVE, bad.GEMINI_MESSAGES),
    ):
        count = max(1, trials.count // TALKS_EVERY)
        for stream in drawn(bad.streams(good), count, trials.seed):
            texts = [json.dumps(message) for message in stream[:6]]
            found.append(Talk(provider=provider, messages=texts))
    return found


def _contracts(trials: Trials) -> list[Garbled]:
    texts = bad.texts(bad.CONTRACT).map(lambda text: text.encode("utf-8", "replace").decode())
    return [Garbled(text=t) for t in drawn(texts, max(1, trials.count // TALKS_EVERY), trials.seed)]


# Afterwards


async def _each(
    items: Sequence[T],
    work: Callable[[T], Awaitable[None]],
    advance: Callable[[int], None],
    *,
    at_once: int = AT_ONCE,
) -> None:
    gate = asyncio.Semaphore(at_once)

    async def one(item: T) -> None:
        async with gate:
            await work(item)
        advance(1)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item))


async def _control() -> dict[str, int]:
    return {actor.name: actor.pid for actor in await cluster.living() if actor.kind in CONTROL}


async def _left(stage: Stage) -> list[str]:
    """Rooms, open accounts and records that are not gone, once all should be."""
    await stage.settle()
    budget = RayBudgetClient(stage.fleet.settings.ray_namespace)
    found: list[str] = []

    async def nothing() -> bool:
        found[:] = [
            *(room.name for room in await stage.rooms.list_rooms()),
            *(f"account {session_id}" for session_id in await budget.open_sessions()),
        ]
        counts = await stage.registry.counts()
        found.extend(
            f"{count} {state.value}"
            for state, count in counts.items()
            if count and state is not SessionState.GONE
        )
        return not found

    await until(nothing, LEFT_S, poll_s=0.5)
    return found


FAULT = Fault(
    name="fuzz",
    about="bad requests, webhooks, contracts and provider events by the thousand",
    trials=20,
    run=run,
    needs=Needs(warm=4),
)
