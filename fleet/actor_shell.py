"""A session actor's class for those who create actors but must not import what they are made of.

The roster would need six seconds and 170 MB for it, and could not: livekit's plugins register
themselves on import, on a process's main thread only, while an async actor's methods run on
another. So the class that it hands to Ray names the real one by its path.

Workers unpickle an actor's class on their main thread before they construct it: there the name
becomes the class, imported then and there. Whoever looks an actor up by its name unpickles the
class too; in control actors that is on another thread, where the name stays a name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from agent_actor.contract import ActorId, SessionId
from agent_actor.messages import (
    Allowance,
    Assignment,
    JoinReport,
    Pulse,
    SessionResult,
    StopOrder,
    WarmReport,
)
from fleet.ray_calls import load_class


class _ClassAt:
    """Calling it is calling the class, imported at the latest then."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, actor_id: ActorId) -> Any:
        return load_class(self._path)(actor_id)

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return _unpickled, (self._path,)


def _unpickled(path: str) -> Any:
    on_main_thread = threading.current_thread() is threading.main_thread()
    return load_class(path) if on_main_thread else _ClassAt(path)


class ActorShell:
    """All methods of ``agent_actor.actor.SessionActor``, passed on."""

    made_of: ClassVar[Any]

    def __init__(self, actor_id: ActorId) -> None:
        self._actor = self.made_of(actor_id)

    async def warm(self) -> WarmReport:
        report: WarmReport = await self._actor.warm()
        return report

    async def run(self, assignment: Assignment, budget: Any | None = None) -> SessionResult:
        result: SessionResult = await self._actor.run(assignment, budget)
        return result

    async def joined(self, session_id: SessionId) -> JoinReport:
        report: JoinReport = await self._actor.joined(session_id)
        return report

    async def stop(self, order: StopOrder) -> None:
        await self._actor.stop(order)

    async def hand_over(self, patience_s: float) -> None:
        await self._actor.hand_over(patience_s)

    async def restrain(self, allowance: Allowance) -> None:
        await self._actor.restrain(allowance)

    async def observe(self, observers: Sequence[str]) -> None:
        await self._actor.observe(observers)

    async def ping(self) -> Pulse:
        pulse: Pulse = await self._actor.ping()
        return pulse


def shell_for(class_path: str) -> type[ActorShell]:
    """To be made a Ray actor: as cheap to hold as the path itself. A class made here, unlike one
    that can be imported, is pickled by value, with what it is made of.
    """
    return type("SessionActor", (ActorShell,), {"made_of": _ClassAt(class_path)})
