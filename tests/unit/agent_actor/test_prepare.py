"""What is done before the fork: all of it, and nothing that a fork could not follow."""

from __future__ import annotations

import json
import subprocess
import sys

LOOK = """
import json, os, sys
from agent_actor.forkserver import preload
preload.load(("fleet.actor_shell", "no.such.module"))
from google.genai import types
from livekit.rtc._ffi_client import FfiClient
from openai.types import realtime
from agent_actor.providers.trust import trust
print(json.dumps({
    "threads": len(os.listdir("/proc/self/task")),
    "started": FfiClient._instance is not None,
    "modules": sum(each in sys.modules for each in ("fleet.actor_shell", "httpcore2", "numpy.fft",
        "anyio._backends._asyncio", "livekit.plugins.openai", "livekit.plugins.google", "ray")),
    "built": [each.__name__ for each in (types.LiveServerMessage, types.LiveConnectConfig,
        realtime.ResponseDoneEvent, realtime.RealtimeSessionCreateRequest)
        if each.__pydantic_complete__],
    "mapped": "liblivekit_ffi" in open("/proc/self/maps").read(),
    "trust": trust.cache_info().currsize,
}))
"""


def test_everything_is_done_and_no_thread_is_left() -> None:
    # In a process of its own: this one has long started threads.
    answer = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = json.loads(answer.stdout.splitlines()[-1])
    assert found["threads"] == 1
    assert not found["started"]
    assert found["modules"] == 7
    assert len(found["built"]) == 4
    assert found["mapped"]
    assert found["trust"] == 1
    assert "a step of preparing failed" not in answer.stdout + answer.stderr
