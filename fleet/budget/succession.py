"""Two budget actors on one ledger, as while a cluster is upgraded. Only one may grant: the younger,
by the ledger's epoch. The elder passes on what its own cluster's sessions ask, by Redis, and begins
anew if nobody answers there any more.

    {ns}:budget:calls:<epoch>      list: calls (JSON) for the budget actor that has this epoch
    {ns}:budget:answers:<caller>   list: its answers

A call may get lost, with its answer or before: who made it hears BudgetUnavailable and makes it
again, as may be done with every method of the budget actor. Versions of the code may differ at the
two ends: fields that one does not know it ignores.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, cast

import structlog
from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis

from agent_actor.messages import Allowance, UsageReport
from agent_actor.owned_tasks import OwnedTasks
from fleet.budget import ledger_scripts as scripts
from fleet.budget.costs import SessionCost
from fleet.budget.ledger import available
from fleet.errors import BudgetUnavailable

ANSWER_S = 2.0
SILENT_S = 10.0
"""So long no call was answered, though Redis took them: whoever has the ledger's epoch is gone."""
_TAKE_S = 1
"""Shorter than a Redis client's patience."""
_KEPT_S = 10
"""What nobody takes is forgotten."""
_RETRY_S = 0.25

log = structlog.get_logger(__name__)

_METHODS: Mapping[str, tuple[TypeAdapter[Any], TypeAdapter[Any]]] = {
    "open": (TypeAdapter(tuple[str, str, str, int]), TypeAdapter(Allowance)),
    "report_batch": (TypeAdapter(tuple[list[UsageReport]]), TypeAdapter(list[Allowance])),
    "close": (TypeAdapter(tuple[str, list[UsageReport]]), TypeAdapter(SessionCost | None)),
    "cost": (TypeAdapter(tuple[str]), TypeAdapter(SessionCost | None)),
    "overdue": (TypeAdapter(tuple[float]), TypeAdapter(list[str])),
    "open_sessions": (TypeAdapter(tuple[()]), TypeAdapter(list[str])),
}
"""What a cluster's sessions and supervisor need: arguments and answer. Whoever changes limits asks
the cluster that takes new sessions."""

Handler = Callable[..., Awaitable[Any]]


class Line:
    """The lists. Every method raises BudgetUnavailable."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._prefix = f"{namespace}:budget:"
        self._call = redis.register_script(scripts.CALL)

    async def call(self, text: str) -> None:
        """For whoever has the newest epoch."""
        with available("call"):
            await self._call(keys=[self._prefix], args=[text, _KEPT_S])

    async def take_call(self, epoch: int) -> str | None:
        return await self._take(f"calls:{epoch}")

    async def answer(self, caller: str, text: str) -> None:
        key = f"{self._prefix}answers:{caller}"
        with available("answer"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.rpush(key, text)
                pipe.expire(key, _KEPT_S)
                await pipe.execute()

    async def take_answer(self, caller: str) -> str | None:
        return await self._take(f"answers:{caller}")

    async def _take(self, name: str) -> str | None:
        """None: there was none for a second."""
        with available("take"):
            found = await cast(
                "Awaitable[tuple[str, str] | None]",
                self._redis.blpop([self._prefix + name], timeout=_TAKE_S),
            )
        return None if found is None else found[1]


class Deputy:
    """Of a budget actor whose epoch is over. One event loop."""

    def __init__(self, line: Line, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._line = line
        self._clock = clock
        self._own = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tasks = OwnedTasks("budget deputy")
        self._reads = False
        self._silent_since: float | None = None

    @property
    def is_alone(self) -> bool:
        """Whether nobody has answered for SILENT_S."""
        since = self._silent_since
        return since is not None and self._clock() - since >= SILENT_S

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Raises BudgetUnavailable."""
        takes, gives = _METHODS[method]
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._keep_reading()
        call = {
            "id": number,
            "caller": self._own,
            "method": method,
            "arguments": takes.dump_python(arguments, mode="json"),
        }
        try:
            await self._line.call(json.dumps(call))
            async with asyncio.timeout(ANSWER_S):
                found = await answer
        except TimeoutError:
            if self._silent_since is None:
                self._silent_since = self._clock()
            raise BudgetUnavailable("another cluster's budget actor does not answer") from None
        finally:
            del self._waiting[number]
        self._silent_since = None
        if "error" in found:
            raise BudgetUnavailable(str(found["error"]))
        return gives.validate_python(found["value"])

    async def aclose(self) -> None:
        await self._tasks.aclose()

    def _keep_reading(self) -> None:
        if not self._reads:
            self._reads = True
            self._tasks.start(self._read())

    async def _read(self) -> None:
        while True:
            try:
                text = await self._line.take_answer(self._own)
            except BudgetUnavailable:
                await asyncio.sleep(_RETRY_S)
                continue
            if text is not None:
                found = json.loads(text)
                waiting = self._waiting.get(found["id"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(found)


async def serve_deputies(line: Line, epoch: int, methods: Mapping[str, Handler]) -> None:
    """Answer what elder budget actors pass on to the one with this epoch; until cancelled.
    ``methods``: its own, by their names."""
    tasks = OwnedTasks("budget succession")
    try:
        while True:
            try:
                text = await line.take_call(epoch)
            except BudgetUnavailable:
                await asyncio.sleep(_RETRY_S)
                continue
            if text is not None:
                tasks.start(_answer(line, text, methods))
    finally:
        await tasks.aclose()


async def _answer(line: Line, text: str, methods: Mapping[str, Handler]) -> None:
    call = json.loads(text)
    # Whoever waits for one that cannot be delivered asks again.
    with suppress(BudgetUnavailable):
        said = await _said(call, methods)
        await line.answer(call["caller"], json.dumps({"id": call["id"], **said}))


async def _said(call: dict[str, Any], methods: Mapping[str, Handler]) -> dict[str, Any]:
    name = call["method"]
    if name not in _METHODS:
        return {"error": f"this version does not know {name}"}
    takes, gives = _METHODS[name]
    try:
        answer = await methods[name](*takes.validate_python(call["arguments"]))
    except ValidationError:
        return {"error": f"this version does not understand {name}"}
    except BudgetUnavailable as error:
        return {"error": str(error)}
    return {"value": gives.dump_python(answer, mode="json")}


METHODS = tuple(_METHODS)
