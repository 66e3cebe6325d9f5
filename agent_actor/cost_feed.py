"""Tells whoever observes a session what it costs, by messages into its room, and nobody else.

Observers are hidden in the room, from the agent too: the control plane says who they are. Each
message goes to them by name. To LiveKit a message to nobody in particular is one to everybody, the
participant among them; so with no observers none is sent.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from agent_actor.contract import SessionId, utc_iso
from agent_actor.messages import TokenCounts, Verdict

TOPIC = "cost"
INTERVAL_S = 1.0
REPEAT_S = 5.0
"""Nobody says when an observer has come: figures that stand are told again so often."""
SEND_TIMEOUT_S = 1.0

log = structlog.get_logger(__name__)


class Publish(Protocol):
    def __call__(self, topic: str, payload: bytes, to: Sequence[str]) -> Awaitable[None]: ...


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A session's figures this moment. Money is of all its attempts, tokens and responses are
    this attempt's."""

    spent_micro_usd: int
    estimate_micro_usd: int
    limit_micro_usd: int
    allowance_micro_usd: int
    verdict: Verdict
    tokens: TokenCounts
    responses: int
    unpriced_responses: int
    phase_id: str | None = None
    phase_index: int | None = None
    phase_count: int = 0


class CostFeed:
    """One attempt's messages. ``observe`` may be called at any time. ``run`` sends until it is
    cancelled, ``finish`` then the last figures. Neither raises: the interview goes first.

    ``look`` gives the figures, None while there are none.
    """

    def __init__(
        self,
        *,
        session_id: SessionId,
        attempt: int,
        observers: Sequence[str],
        look: Callable[[], Cost | None],
        publish: Publish,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session_id = session_id
        self._attempt = attempt
        self._observers = tuple(observers)
        self._look = look
        self._publish = publish
        self._now = now
        self._sleep = sleep
        self._seq = 0
        self._said: Cost | None = None
        self._repeat_at = 0.0

    def observe(self, observers: Sequence[str]) -> None:
        """All who observe from now on; they are told within ``INTERVAL_S``."""
        self._observers = tuple(observers)
        self._said = None

    async def run(self) -> None:
        while True:
            await self._tell(final=False)
            await self._sleep(INTERVAL_S)

    async def finish(self) -> None:
        await self._tell(final=True)

    async def _tell(self, *, final: bool) -> None:
        observers = self._observers
        if not observers:
            return
        try:
            cost = self._look()
            if cost is None or not (final or self._is_due(cost)):
                return
            self._seq += 1
            self._said, self._repeat_at = cost, self._now() + REPEAT_S
            payload = self._message(cost, final=final)
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._publish(TOPIC, payload, observers)
        except Exception as error:
            log.info("cost not told", error_type=type(error).__name__, seq=self._seq)

    def _is_due(self, cost: Cost) -> bool:
        return cost != self._said or self._now() >= self._repeat_at

    def _message(self, cost: Cost, *, final: bool) -> bytes:
        message: dict[str, Any] = {
            "session_id": self._session_id,
            "attempt": self._attempt,
            "seq": self._seq,
            "at": utc_iso(datetime.fromtimestamp(self._now(), UTC)),
            **_money("spent", cost.spent_micro_usd),
            **_money("estimate", cost.estimate_micro_usd),
            **_money("limit", cost.limit_micro_usd),
            **_money("allowance", cost.allowance_micro_usd),
            "verdict": cost.verdict.value,
            "tokens": asdict(cost.tokens),
            "responses": cost.responses,
            "unpriced_responses": cost.unpriced_responses,
            "phase": _phase(cost),
            "final": final,
        }
        return json.dumps(message, separators=(",", ":")).encode()


def _money(name: str, micro: int) -> dict[str, int | str]:
    return {f"{name}_micro_usd": micro, f"{name}_usd": f"{micro // 10**6}.{micro % 10**6:06d}"}


def _phase(cost: Cost) -> dict[str, int | str | None] | None:
    if cost.phase_id is None:
        return None
    return {"id": cost.phase_id, "index": cost.phase_index, "count": cost.phase_count}
