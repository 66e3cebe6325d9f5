"""Who is to end, for whichever supervisor runs it: where several clusters share one registry, as
for the length of an upgrade, a session need not be run by the one that is asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

from agent_actor.contract import EndReason, SessionId
from agent_actor.messages import StopMode
from fleet.parts import StopWanted
from fleet.redis_book import RedisBook
from fleet.registry import reaching


class StopBook(RedisBook):
    """One hash, a field for each session. All calls raise RegistryUnavailable, and may then have
    happened or not; each can simply be made again."""

    KEY = "stops"

    async def put(self, wanted: StopWanted) -> None:
        """Asked for before, it stays as it was, unless this one hurries."""
        text = json.dumps({"reason": wanted.reason, "mode": wanted.mode, "at": wanted.at})
        put = self._redis.hset if wanted.mode is StopMode.NOW else self._redis.hsetnx
        with reaching("stop"):
            await put(self._key, wanted.session_id, text)

    async def all(self) -> list[StopWanted]:
        with reaching("stops"):
            found = cast(dict[str, str], await self._redis.hgetall(self._key))
        return [_wanted(SessionId(session_id), text) for session_id, text in found.items()]

    async def drop(self, session_ids: Sequence[SessionId]) -> None:
        if not session_ids:
            return
        with reaching("stopped"):
            await self._redis.hdel(self._key, *session_ids)


def _wanted(session_id: SessionId, text: str) -> StopWanted:
    told = json.loads(text)
    return StopWanted(
        session_id=session_id,
        reason=EndReason(told["reason"]),
        mode=StopMode(told["mode"]),
        at=told["at"],
    )
