"""Dispatches: one after the other, bursts, and bursts on a busy machine."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from livekit import api

from fleet.bench.peer import contract, processes
from fleet.bench.peer.arms import Arm, Asked, Refused, Told
from fleet.bench.peer.found import Dispatch, Found, Round, Scenario
from fleet.errors import FleetError
from fleet.livekit_client import LiveKitClient
from fleet.local.crowd import Crowd, Participant
from fleet.local.processes import Command, running

SETTLE_S = 60.0
LEFT_S = 10.0
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Place:
    """What both arms have in common."""

    people: Crowd
    client: LiveKitClient
    raw: api.LiveKitAPI
    seed: int
    lost_after_s: float
    """A dispatch without first audio by then is lost."""


@dataclass(kw_only=True)
class Held:
    """A session on its way or under way. Ends by ``end``."""

    name: str
    began_at: float
    asked: Asked | None = None
    told: Told = field(default_factory=Told)
    heard: bool = False
    lost: str | None = None
    participant: Participant | None = None


async def begin(place: Place, arm: Arm, script: str) -> Held:
    """Ask for a session and join it; returns when the agent was heard, or it counts as lost."""
    name = f"{arm.name}-{next(_numbers)}"
    held = Held(name=name, began_at=time.time())
    ends = time.monotonic() + place.lost_after_s
    try:
        async with asyncio.timeout(place.lost_after_s):
            held.asked = await arm.ask(name)
    except (Refused, TimeoutError) as error:
        held.lost = str(error) or "no answer"
        return held
    held.participant = await place.people.join(
        name,
        url=held.asked.url,
        token=held.asked.token,
        script=contract.SCRIPTS[script],
        seed=place.seed,
        t0_epoch_s=held.began_at,
    )
    held.heard = await held.participant.heard(ends - time.monotonic())
    held.told = await arm.told(held.asked)
    if held.told.in_room_at is None:
        held.lost = "no agent"
    elif not held.heard:
        held.lost = "no audio"
    return held


async def end(place: Place, held: Held) -> float | None:
    """Deletes the room. First audio, in seconds since the request."""
    if held.asked is not None:
        try:
            await place.client.delete_room(held.asked.room)
        except FleetError as error:
            held.lost = held.lost or f"room not deleted: {error}"
    if held.participant is None:
        return None
    summary = await held.participant.summary(LEFT_S)
    if summary is None:
        await place.people.leave(held.name)
        return None
    first_s: float | None = summary.get("first_audio_since_t0_s")
    return first_s


async def dispatches(
    place: Place, arm: Arm, scenario: Scenario, count: int, repetition: int
) -> tuple[list[Dispatch], Round]:
    """``count`` at once, all of them ended together, and the arm at rest again."""
    pids = arm.pids()
    before, began = processes.cpu_by_part(pids), time.monotonic()
    all_held = await asyncio.gather(*(begin(place, arm, "open") for _ in range(count)))
    listed = [await _listed_at(place, held) for held in all_held]
    audio = await asyncio.gather(*(end(place, held) for held in all_held))
    settled = await arm.settled(0, SETTLE_S)
    after = processes.cpu_by_part(arm.pids() | pids)
    parts_s = {name: used_s - before.get(name, 0.0) for name, used_s in after.items()}
    wall_s = time.monotonic() - began
    found = [
        _dispatch(arm, scenario, repetition, *each)
        for each in zip(all_held, listed, audio, strict=True)
    ]
    return found, Round(
        arm=arm.name,
        scenario=scenario,
        repetition=repetition,
        served=sum(each.lost is None for each in found),
        parts_s=parts_s,
        wall_s=wall_s,
        settled=settled,
    )


@asynccontextmanager
async def busy_cores(logs: Path) -> AsyncIterator[None]:
    """Every core has something else to do, at the same niceness."""
    async with AsyncExitStack() as stack:
        for number in range(os.cpu_count() or 1):
            loop = ["-I", "-S", "-c", "while True: pass"]
            command = Command(name=f"busy-{number}", program=sys.executable, arguments=loop)
            await stack.enter_async_context(running(command, logs=logs))
        yield


async def in_turns(
    place: Place,
    arms: tuple[Arm, ...],
    scenario: Scenario,
    *,
    rounds: int,
    at_once: int,
    repetition: int,
    advance: Callable[[int], None],
) -> Found:
    """``rounds`` rounds of ``at_once`` each; whoever went first goes second in the next."""
    found: list[Dispatch] = []
    counted: list[Round] = []
    for number in range(rounds):
        for arm in arms if number % 2 == 0 else arms[::-1]:
            some, one = await dispatches(place, arm, scenario, at_once, repetition)
            found.extend(some)
            counted.append(one)
            advance(at_once)
    return Found(dispatches=tuple(found), rounds=tuple(counted))


def _dispatch(
    arm: Arm,
    scenario: Scenario,
    repetition: int,
    held: Held,
    listed_at: float | None,
    audio_s: float | None,
) -> Dispatch:
    def since(at: float | None) -> float | None:
        return None if at is None else at - held.began_at

    lost = held.lost or (None if audio_s is not None else "no summary")
    return Dispatch(
        arm=arm.name,
        scenario=scenario,
        repetition=repetition,
        in_room_s=since(held.told.in_room_at),
        listed_s=since(listed_at),
        audio_s=audio_s,
        lost=lost,
        steps_ms=dict(held.told.steps_ms),
    )


async def _listed_at(place: Place, held: Held) -> float | None:
    if held.asked is None or not held.heard:
        return None
    try:
        listed = await place.raw.room.list_participants(
            api.ListParticipantsRequest(room=held.asked.room)
        )
    except api.TwirpError:
        return None
    agents = [p for p in listed.participants if p.kind == api.ParticipantInfo.Kind.AGENT]
    return agents[0].joined_at_ms / 1000 if agents else None
