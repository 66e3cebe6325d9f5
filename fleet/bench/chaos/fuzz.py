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
from dataclasses import asdict, dataclass, field
from typing import TypeVar
from urllib.parse import quote, urlencode

import httpx
from hypothesis import strategies as st
from livekit import api

from agent_actor.contract import AgentError, SessionState, parse_strict
from fleet.bench import bad_input as bad
from fleet.bench.chaos import cluster, data_messages
from fleet.bench.chaos.bad_interviews import (
    STREAMS_EACH,
    Garbled,
    Talk,
    contracts,
    metered,
    talks,
)
from fleet.bench.chaos.fault import Fault, Trials
from fleet.bench.chaos.stage import Stage
from fleet.bench.report import Bar, Measured, at_least, exactly, only_shown
from fleet.bench.waiting import until
from fleet.clients import RayBudgetClient

REQUESTS_EACH = 60
"""Of each kind, for each trial."""
TALKS = 4
"""Interviews at once."""
BEGUN_MOST = 10
"""Bodies that were changed and are good all the same: they begin interviews."""
AT_ONCE = 8
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
    lost: int = 0


async def run(stage: Stage, trials: Trials) -> Measured:
    seen, before = Seen(), await _control()
    trials.progress.tell("drawing bad requests ...")
    asks = await asyncio.to_thread(_asks, stage, trials)
    with trials.progress.steps("bad requests and webhooks", len(asks)) as advance:
        await _each(asks, lambda ask: _ask(stage, ask, seen), advance)
    await _end(stage, seen)
    trials.progress.tell("bad events for the meter alone ...")
    events, misread = await asyncio.to_thread(metered, trials)
    talked = await asyncio.to_thread(talks, trials)
    interviews: list[Talk | Garbled] = [*talked, *await asyncio.to_thread(contracts, trials)]
    with trials.progress.steps("interviews with bad input", len(interviews)) as advance:
        await _each(interviews, lambda each: _hold(stage, each, seen), advance, at_once=TALKS)
    trials.progress.tell("data messages ...")
    meddled = await data_messages.meddle(stage, trials)
    left = await _left(stage)
    after = await _control()
    crashed = [name for name, pid in before.items() if after.get(name) != pid]
    return Measured(
        bars=(
            *_of_requests(seen, len(asks)),
            at_least("bad events read by a meter", events, trials.count * STREAMS_EACH, ""),
            exactly("of these misread", len(misread), 0, "", "; ".join(misread[:3])),
            *_of_interviews(seen, interviews, sum(talk.messages for talk in talked)),
            *data_messages.bars(meddled),
            exactly("left over", len(left), 0, "", ", ".join(left[:3])),
            exactly("control actors that crashed", len(crashed), 0, "", ", ".join(crashed)),
        ),
        seeds=(trials.seed,),
        data={
            "answers": {str(status): count for status, count in seen.answers.items()},
            "wrong": seen.wrong,
            "misread": misread,
            "ends": dict(seen.ends),
            "untyped": seen.untyped,
            "meddled": [asdict(each) for each in meddled],
            "left": left,
        },
    )


def _of_requests(seen: Seen, asked: int) -> Iterator[Bar]:
    yield at_least("bad requests and webhooks answered", seen.answers.total(), asked, "")
    told = "; ".join(seen.wrong[:3])
    yield exactly("neither a success nor a problem that says why", len(seen.wrong), 0, "", told)
    for status, count in sorted(seen.answers.items()):
        yield only_shown(f"answered {status}", count, "")


def _of_interviews(
    seen: Seen, interviews: Sequence[Talk | Garbled], messages: int
) -> Iterator[Bar]:
    ends = ", ".join(f"{count} {how}" for how, count in sorted(seen.ends.items()))
    detail = f"{messages} bad events of providers; {ends}"
    yield at_least("interviews with bad input", seen.ends.total(), len(interviews), "", detail)
    told = "; ".join(seen.untyped[:3])
    yield exactly("ended by an error of no type", len(seen.untyped), 0, "", told)
    yield exactly("interviews that lost an actor", seen.lost, 0, "")


# Requests


def _asks(stage: Stage, trials: Trials) -> list[Ask]:
    count, number = trials.count * REQUESTS_EACH, trials.seed
    key = stage.fleet.settings.livekit_api_key
    secret = stage.fleet.settings.livekit_api_secret.get_secret_value()
    bodies = bad.drawn(bad.raw(bad.BODY), count, number)
    hooks = bad.drawn(bad.raw(bad.WEBHOOK), count, number)
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
            for body in bad.drawn(bad.raw({"limit_usd": "2.50"}), count, number)
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
        *(Ask(method="GET", path=path) for path in bad.drawn(_targets(), count, number)),
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


async def _hold(stage: Stage, interview: Talk | Garbled, seen: Seen) -> None:
    end = await interview.hold(stage)
    seen.ends[f"{end.reason} {end.code or ''}".strip()] += 1
    seen.lost += end.attempts is not None and end.attempts > 1
    if end.reason is None or end.code not in HANDLED:
        seen.untyped.append(f"{end.reason} {end.code}: {str(end.given)[:300]}")


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
)
