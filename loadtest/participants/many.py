"""Many participants in one process: orders come as JSON lines, each starts at once.

An order: {"id": "p1", "url": "ws://…", "token": "…", "script": NAME, PATH or object} and
optionally "seed", "max_s", "uplink", "sample_rate", "agent_identity", "t0_epoch_s",
"connect_deadline_s". To make one leave: {"id": "p1", "stop": true}. A bad order or a failed
participant is told as a `failed` event with its id and does not disturb the others.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from loadtest.participants.errors import BadOrder, Broken, ParticipantError
from loadtest.participants.participant import ParticipantOptions, run_participant
from loadtest.participants.redact import redact
from loadtest.participants.report import EventName, Outcome, ParticipantEvent
from loadtest.participants.scripts import load_script
from loadtest.participants.uplink import UplinkMode
from loadtest.participants.voice import SAMPLE_RATES, Voices

log = logging.getLogger(__name__)

Write = Callable[[Mapping[str, Any]], None]
Lines = asyncio.Queue[str | None]
"""Lines of input; None: no more will come."""

TEXTS = ("id", "url", "token")
USUAL_SAMPLE_RATE = 48_000
"""A browser's, and an order's if it says nothing else."""
NUMBERS = ("seed", "max_s", "sample_rate", "t0_epoch_s", "connect_deadline_s")
OPTIONAL = (*NUMBERS, "uplink", "agent_identity")


class Crowd:
    """Runs orders on one event loop; `write` gets each line to print, tagged with its id."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._stops: dict[str, asyncio.Event] = {}
        self._voices: dict[int, Voices] = {}
        self._warming = asyncio.Lock()
        self.failures = 0
        """Orders that were bad, could not join, or lost their connection."""

    async def run(self, lines: Lines) -> None:
        """Take orders until the lines end; return when the last participant has left. A `ready`
        line comes first, when the next order would join without delay.
        """
        await self._voices_at(USUAL_SAMPLE_RATE)
        self._write({"event": "ready"})
        async with asyncio.TaskGroup() as tasks:
            while (line := await lines.get()) is not None:
                if line.strip():
                    self._take(line, tasks)

    def stop(self) -> None:
        """Make everyone leave."""
        for stop in self._stops.values():
            stop.set()

    def _take(self, line: str, tasks: asyncio.TaskGroup) -> None:
        name: str | None = None
        try:
            order = _decoded(line)
            name = _text(order, "id")
            if order.get("stop") is True:
                self._stops[name].set() if name in self._stops else None
                return
            if name in self._stops:
                raise BadOrder("id: already in use")
            options = options_of(order)
        except ParticipantError as error:
            self._failed(name, error)
            return
        stop = self._stops[name] = asyncio.Event()
        tasks.create_task(self._run_one(name, options, stop))

    async def _run_one(self, name: str, options: ParticipantOptions, stop: asyncio.Event) -> None:
        def on_event(event: ParticipantEvent) -> None:
            self._write({"id": name, **event.as_json()})

        try:
            voices = await self._voices_at(options.sample_rate)
            summary = await run_participant(options, on_event, stop=stop, voices=voices)
        except ParticipantError as error:
            self._failed(name, error)
            return
        except Exception as error:
            # On a starved machine the SDK asserts what does not hold: a track that is gone already.
            log.exception("participant %s broke down", name)
            self._failed(name, Broken(redact(f"{type(error).__name__}: {error}")))
            return
        finally:
            del self._stops[name]
        self.failures += summary.outcome is Outcome.CONNECTION_LOST
        self._write({"id": name, "event": EventName.SUMMARY.value, **summary.as_json()})

    async def _voices_at(self, sample_rate: int) -> Voices:
        async with self._warming:
            if sample_rate not in self._voices:
                voices = Voices(sample_rate=sample_rate)
                await asyncio.to_thread(voices.warm)
                self._voices[sample_rate] = voices
        return self._voices[sample_rate]

    def _failed(self, name: str | None, error: ParticipantError) -> None:
        self.failures += 1
        self._write({"id": name, **failure_line(error)})


def failure_line(error: ParticipantError) -> dict[str, Any]:
    """The `failed` event of an error."""
    return {
        "event": EventName.FAILED.value,
        "error": type(error).__name__,
        "retryable": error.retryable,
        "message": str(error),
    }


def options_of(order: Mapping[str, Any]) -> ParticipantOptions:
    """The participant that an order asks for. Raises BadOrder or BadScript."""
    unknown = sorted(set(order) - {*TEXTS, *OPTIONAL, "script"})
    if unknown:
        raise BadOrder(f"{unknown[0]}: unknown key")
    script = order.get("script")
    if not isinstance(script, str | Mapping):
        raise BadOrder("script: expected a name, a path or an object")
    options = ParticipantOptions(
        url=_text(order, "url"),
        token=_text(order, "token"),
        script=load_script(script),
        started_epoch_s=time.time(),
    )
    given = {key: order[key] for key in OPTIONAL if order.get(key) is not None}
    return replace(options, **_checked(given))


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    for key in NUMBERS:
        value = given.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadOrder(f"{key}: expected a number")
    if given.get("sample_rate", SAMPLE_RATES[0]) not in SAMPLE_RATES:
        raise BadOrder(f"sample_rate: expected one of {SAMPLE_RATES}")
    if not isinstance(given.get("agent_identity", ""), str):
        raise BadOrder("agent_identity: expected a text")
    if "uplink" in given:
        if given["uplink"] not in list(UplinkMode):
            raise BadOrder(f"uplink: expected one of {', '.join(UplinkMode)}")
        given["uplink"] = UplinkMode(given["uplink"])
    return given


def _decoded(line: str) -> dict[str, Any]:
    try:
        order = json.loads(line)
    except ValueError:
        # The line can hold a token: its text stays out of the message.
        raise BadOrder("not a line of JSON") from None
    if not isinstance(order, dict):
        raise BadOrder("expected a JSON object")
    return order


def _text(order: Mapping[str, Any], key: str) -> str:
    value = order.get(key)
    if not isinstance(value, str) or not value:
        raise BadOrder(f"{key}: expected a non-empty text")
    return value
