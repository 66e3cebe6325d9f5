"""The first session of a process that was prepared as the fork server is, in a process of its own.

Says "ready", takes an assignment as a line of JSON, and says as JSON what its loop spent until the
interviewer was heard: CPU of this thread for each callback, so that a busy machine does not count.
"""

from __future__ import annotations

import asyncio
import asyncio.events
import gc
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from agent_actor.forkserver import preload

WORTH_TELLING_MS = 10


@dataclass
class Watch:
    """The CPU of each callback that the loop runs, from ``start`` on."""

    started: float = 0.0
    spent: list[dict[str, Any]] = field(default_factory=list)

    def install(self) -> None:
        run = asyncio.events.Handle._run

        def watched(handle: Any) -> None:
            before = time.thread_time()
            run(handle)
            cpu_ms = (time.thread_time() - before) * 1000
            if cpu_ms > WORTH_TELLING_MS:
                at_s = time.monotonic() - self.started
                self.spent.append({"at_s": at_s, "cpu_ms": cpu_ms, "what": repr(handle)[:200]})

        asyncio.events.Handle._run = watched  # type: ignore[method-assign]

    def start(self) -> None:
        self.started = time.monotonic()
        self.spent.clear()


async def interview(watch: Watch) -> dict[str, Any]:
    from agent_actor.actor import SessionActor
    from agent_actor.contract import ActorId, SessionId
    from agent_actor.messages import Allowance, Assignment, Verdict

    actor = SessionActor(ActorId("first"))
    await actor.warm()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    order = json.loads(await asyncio.to_thread(sys.stdin.readline))
    session_id = SessionId(order.pop("session_id"))
    allowance = Allowance(
        session_id=session_id,
        up_to_micro_usd=5_000_000,
        limit_micro_usd=5_000_000,
        expires_at=time.time() + 600,
        verdict=Verdict.GO_ON,
    )
    assignment = Assignment(
        session_id=session_id,
        attempt=1,
        agent_identity="agent",
        allowance=allowance,
        assigned_at=time.time(),
        **order,
    )
    known = set(sys.modules)
    watch.start()
    result = await actor.run(assignment)
    first_audio_s = result.first_audio_s
    return {
        "first_audio_s": first_audio_s,
        "error": result.error,
        "spent": [each for each in watch.spent if each["at_s"] < (first_audio_s or 1e9)],
        "imported": sorted(set(sys.modules) - known),
    }


def main() -> None:
    preload.load()
    gc.collect()
    gc.freeze()
    gc.enable()
    watch = Watch()
    watch.install()
    told = asyncio.run(interview(watch))
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    # The actor ends like that too.
    os._exit(0)


if __name__ == "__main__":
    main()
