"""Writes a session's journal, live state and checkpoint to Redis without ever holding up the
interview.

``record`` and ``live`` only put things into a bounded buffer. One task of the writer's own sends
what is there, with the checkpoint as it is then, at most ten times a second, in one script that is
atomic and may run twice. While Redis is away the buffer fills, then its oldest entries are dropped
and counted, and the journal says how many are missing when Redis is back.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Self

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from agent_actor import checkpoint
from agent_actor.changes import CHANGED, changes_key
from agent_actor.checkpoint import Checkpoint, checkpoint_key
from agent_actor.contract import SessionId
from agent_actor.errors import CheckpointUnavailable
from agent_actor.journal import (
    EventKind,
    JournalEvent,
    LiveState,
    erased_key,
    event_to_fields,
    journal_key,
    live_key,
    live_to_fields,
)
from agent_actor.redis_client import open_redis

FLUSH_EVERY_S = 0.1
RETRY_AFTER_S = 0.5
RECALL_DEADLINE_S = 4.0
MAX_BUFFERED = 2_000
MAX_BATCH = 200
MAX_STREAM = 50_000
"""Entries a journal keeps, about; an hour's interview makes a few thousand."""
DEFAULT_TTL_S = 7 * 24 * 3600

_Entry = tuple[int, tuple[str, ...]]
"""Its number within the attempt, from 1, and its fields' values in the stream's order."""

_log = structlog.get_logger(__name__)

# "_n:<attempt>" in the live hash is the number of the last entry written: a batch that is sent
# again, because its first answer was lost, adds nothing. "_attempt" keeps the live state of a
# replaced actor from covering its successor's, and its checkpoint likewise.
_WRITE = (
    CHANGED
    + """
-- KEYS: journal, live, tombstone, checkpoint, changes. ARGV: attempt, max_stream, ttl_s, number of
-- live fields * 2, number of checkpoint fields * 2, live fields ..., checkpoint fields ..., then
-- for each entry: n, kind, at, attempt, data
if redis.call('EXISTS', KEYS[3]) == 1 then return 'erased' end
local attempt = tonumber(ARGV[1])
local last = tonumber(redis.call('HGET', KEYS[2], '_n:' .. ARGV[1]) or '0')
local kept = 6 + tonumber(ARGV[4])
local first = kept + tonumber(ARGV[5])
for i = first, #ARGV, 5 do
  local n = tonumber(ARGV[i])
  if n > last then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'kind', ARGV[i + 1],
      'at', ARGV[i + 2], 'attempt', ARGV[i + 3], 'data', ARGV[i + 4])
    last = n
  end
end
redis.call('HSET', KEYS[2], '_n:' .. ARGV[1], last)
if first > 6 and attempt >= tonumber(redis.call('HGET', KEYS[2], '_attempt') or '0') then
  local live = {'_attempt', ARGV[1]}
  for i = 6, kept - 1 do live[#live + 1] = ARGV[i] end
  redis.call('HSET', KEYS[2], unpack(live))
  for i = kept, first - 1, 2 do redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1]) end
  redis.call('EXPIRE', KEYS[4], ARGV[3])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
changed(KEYS[5], KEYS[2])
return 'ok'
"""
)

# From then on what the predecessor still writes covers nothing: it may be frozen, not dead.
_RECALL = """
-- KEYS: live, tombstone, checkpoint. ARGV: attempt, ttl_s
if redis.call('EXISTS', KEYS[2]) == 1 then return {} end
if tonumber(ARGV[1]) > tonumber(redis.call('HGET', KEYS[1], '_attempt') or '0') then
  redis.call('HSET', KEYS[1], '_attempt', ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return redis.call('HGETALL', KEYS[3])
"""


class JournalWriter:
    """The journal of one attempt of one session. ``start`` it, and ``aclose`` it at the end.

    ``clock`` gives epoch seconds. Everything but ``aclose`` returns at once and never raises
    because of Redis. Not for several threads.
    """

    def __init__(
        self,
        redis_url: str,
        namespace: str,
        session_id: SessionId,
        attempt: int,
        *,
        ttl_s: int = DEFAULT_TTL_S,
        timeout_s: float = 1.5,
        max_buffered: int = MAX_BUFFERED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis: Redis = open_redis(redis_url, timeout_s=timeout_s)
        self._script = self._redis.register_script(_WRITE)
        self._recall_script = self._redis.register_script(_RECALL)
        self._keys = [
            journal_key(namespace, session_id),
            live_key(namespace, session_id),
            erased_key(namespace, session_id),
            checkpoint_key(namespace, session_id),
            changes_key(namespace),
        ]
        self._attempt = attempt
        self._ttl_s = ttl_s
        self._clock = clock
        self._max_buffered = max_buffered
        self._buffer: deque[_Entry] = deque()
        self._live: LiveState | None = None
        self._keep: Callable[[], Mapping[str, str] | None] = lambda: None
        self._kept_sent: dict[str, str] = {}
        self._count = 0
        self._dropped = 0
        self._dropped_untold = 0
        self._failing = False
        self._closing = asyncio.Event()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def dropped(self) -> int:
        """Entries lost so far because Redis was away for too long."""
        return self._dropped

    @property
    def pending(self) -> int:
        """Entries not yet in Redis."""
        return len(self._buffer)

    def start(self) -> Self:
        """Begin to send; the writer owns the task until ``aclose``."""
        if self._task is None:
            self._task = asyncio.create_task(self._send_until_closed(), name="journal-writer")
        return self

    def record(self, kind: EventKind, **data: Any) -> None:
        """Append an entry, as ``data`` is now."""
        event = JournalEvent(kind=kind, at=self._clock(), attempt=self._attempt, data=data)
        self._count += 1
        self._buffer.append((self._count, tuple(event_to_fields(event).values())))
        while len(self._buffer) > self._max_buffered:
            self._buffer.popleft()
            self._dropped += 1
            self._dropped_untold += 1
        self._wanted.set()

    def live(self, state: LiveState) -> None:
        """Replace the live state; only the latest is sent."""
        self._live = state
        self._wanted.set()

    def keep(self, texts: Callable[[], Mapping[str, str] | None]) -> None:
        """Where the checkpoint's texts come from; None: there is none yet. It goes with the live
        state and is asked for when that is sent. What has not changed is not sent again."""
        self._keep = texts

    @property
    def attempt(self) -> int:
        return self._attempt

    async def recall(self, deadline_s: float = RECALL_DEADLINE_S) -> Checkpoint | None:
        """The checkpoint that an earlier attempt left, and cut that attempt off from writing any
        more. None: it left none. Raises CheckpointUnavailable.
        """
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    try:
                        flat = await self._recall_script(
                            keys=self._keys[1:4], args=[self._attempt, self._ttl_s]
                        )
                        break
                    except (RedisError, OSError):
                        await asyncio.sleep(RETRY_AFTER_S)
        except TimeoutError:
            raise CheckpointUnavailable(f"no answer from Redis in {deadline_s:g} s") from None
        return checkpoint.from_fields(dict(zip(flat[::2], flat[1::2], strict=True)))

    async def aclose(self, deadline_s: float = 2.0) -> None:
        """Send what is left, for at most ``deadline_s``, and close. What could not be sent is
        logged as a number and gone. Closing twice is fine; cancelled, it closes at once.
        """
        self._closing.set()
        self._wanted.set()
        task, self._task = self._task, None
        try:
            if task is not None:
                # wait_for cancels the task at the deadline and waits for it to be gone.
                await asyncio.wait_for(task, deadline_s)
        except TimeoutError:
            pass
        finally:
            if self._buffer:
                _log.warning("journal closed with entries unsent", entries=len(self._buffer))
                self._buffer.clear()
            await self._redis.aclose()

    async def _send_until_closed(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            sent = await self._send()
            if self._closing.is_set() and sent and not self._buffer and self._live is None:
                return
            if self._buffer or self._live is not None:
                self._wanted.set()
            # While closing there is no pause after success; what was missed is retried gently.
            await self._pause(FLUSH_EVERY_S if sent else RETRY_AFTER_S, cut_short=sent)

    async def _pause(self, seconds: float, *, cut_short: bool) -> None:
        if not cut_short:
            await asyncio.sleep(seconds)
            return
        try:
            await asyncio.wait_for(self._closing.wait(), seconds)
        except TimeoutError:
            return

    async def _send(self) -> bool:
        """One batch. True if Redis took it, or refuses it for good because of an erasure."""
        batch, live = list(islice(self._buffer, MAX_BATCH)), self._live
        if not batch and live is None:
            return True
        kept = self._to_keep() if live is not None else {}
        try:
            await self._script(keys=self._keys, args=self._arguments(batch, live, kept))
        except (RedisError, OSError) as error:
            self._note_failure(error)
            return False
        self._failing = False
        self._kept_sent |= kept
        self._forget(batch, live)
        if self._dropped_untold:
            self._tell_dropped()
        return True

    def _to_keep(self) -> dict[str, str]:
        texts = self._keep() or {}
        return {name: text for name, text in texts.items() if self._kept_sent.get(name) != text}

    def _arguments(
        self, batch: list[_Entry], live: LiveState | None, kept: dict[str, str]
    ) -> list[Any]:
        state = [] if live is None else _flat(live_to_fields(live))
        texts = _flat(kept)
        entries = [part for n, fields in batch for part in (n, *fields)]
        sizes = (len(state), len(texts))
        return [self._attempt, MAX_STREAM, self._ttl_s, *sizes, *state, *texts, *entries]

    def _forget(self, batch: list[_Entry], live: LiveState | None) -> None:
        last = batch[-1][0] if batch else 0
        while self._buffer and self._buffer[0][0] <= last:
            self._buffer.popleft()
        if self._live is live:
            self._live = None

    def _tell_dropped(self) -> None:
        lost, self._dropped_untold = self._dropped_untold, 0
        text = "journal entries lost while its store was away"
        self.record(EventKind.NOTE, text=text, entries=lost)

    def _note_failure(self, error: Exception) -> None:
        if not self._failing:
            _log.warning("journal store away", error_type=type(error).__name__)
        self._failing = True


def _flat(fields: dict[str, str]) -> list[str]:
    return [part for pair in fields.items() for part in pair]
