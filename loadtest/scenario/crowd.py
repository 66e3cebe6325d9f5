"""Real participants for a Locust process: `python -m loadtest.participants many` as children.

Not in this process: Locust has patched its sockets and threads for gevent, which neither asyncio
nor the native library of the participants bears. All methods are for greenlets, and none blocks
the others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gevent
import gevent.event
from gevent import subprocess

from loadtest.scenario.errors import ParticipantsGone

Line = Mapping[str, Any]
OnLine = Callable[[Line], None]

ROOT = Path(__file__).parents[2]
LAST = ("summary", "failed")
READY_S = 60.0
LEAVE_S = 10.0


class Crowd:
    """Use: `hold`, `join` and `leave` for each, then `close`. Processes are started as needed."""

    def __init__(self, *, a_process: int) -> None:
        self._a_process = a_process
        self._children: list[_Child] = []

    def hold(self, identity: str) -> None:
        """A place in a process that is ready, so that `join` takes no time of its own. Raises
        ParticipantsGone.
        """
        self._with_room().hold(identity)

    def join(self, order: Mapping[str, Any], on_line: OnLine) -> None:
        """`order` as `loadtest.participants.many` takes it, for one that holds a place; `on_line`
        gets all that its participant tells, the last of which is its summary or failure. Raises
        ParticipantsGone.
        """
        for child in self._children:
            if order["id"] in child.held:
                child.send(order, on_line)
                return
        raise ParticipantsGone("the participants' process has ended")

    def leave(self, identity: str) -> None:
        """Harmless for one that has left, or holds no place."""
        for child in self._children:
            if identity in child.held:
                child.leave(identity)

    def close(self) -> None:
        for child in self._children:
            child.close()
        self._children = []

    def _with_room(self) -> _Child:
        for child in self._children:
            if child.alive and len(child.held) < self._a_process:
                return child
        child = _Child()
        self._children.append(child)
        return child


class _Child:
    def __init__(self) -> None:
        self.held: set[str] = set()
        """Who has a place here, joined or not."""
        self._present: dict[str, OnLine] = {}
        self._ready = gevent.event.Event()
        command = [sys.executable, "-m", "loadtest.participants", "many", "--stdin"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        self._reader = gevent.spawn(self._read)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def hold(self, identity: str) -> None:
        self.held.add(identity)
        if not self._ready.wait(READY_S) or not self.alive:
            self.held.discard(identity)
            raise ParticipantsGone("the participants' process did not start")

    def send(self, order: Mapping[str, Any], on_line: OnLine) -> None:
        self._present[order["id"]] = on_line
        self._write(order)

    def leave(self, identity: str) -> None:
        self.held.discard(identity)
        if identity in self._present and self.alive:
            self._write({"id": identity, "stop": True})

    def _write(self, order: Mapping[str, Any]) -> None:
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise ParticipantsGone("the participants' process has ended") from None

    def close(self) -> None:
        """Everybody leaves, then the process."""
        if self.alive:
            self._process.terminate()
            self._process.wait(LEAVE_S)
        if self.alive:
            self._process.kill()
        self._reader.join(LEAVE_S)

    def _read(self) -> None:
        for raw in self._process.stdout:
            line = json.loads(raw)
            if line.get("event") == "ready":
                self._ready.set()
                continue
            self._tell(line)
        self._ready.set()
        for identity in list(self._present):
            self._tell({"id": identity, "event": "failed", "error": "ParticipantsGone"})

    def _tell(self, line: Line) -> None:
        last = line.get("event") in LAST
        told = self._present.pop(line["id"], None) if last else self._present.get(line["id"])
        if told is not None:
            told(line)
