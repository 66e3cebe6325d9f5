"""In processes of their own: a priority is a process's, and a thread's."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LOOK = """
import json, os, threading
from agent_actor import priority
def seen(tid):
    return [os.getpriority(os.PRIO_PROCESS, tid), os.sched_getscheduler(tid)]
before = seen(0)
priority.lower({nice})
low = seen(0)
stop = threading.Event()
thread = threading.Thread(target=stop.wait, daemon=True)
thread.start()
inherited = seen(thread.native_id)
priority.restore()
after = [seen(0), seen(thread.native_id)]
stop.set()
print(json.dumps([before, low, inherited, after]))
"""


def look(nice: int = 10, before: str = "") -> list:
    answer = subprocess.run(
        [sys.executable, "-c", before + LOOK.format(nice=nice)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(answer.stdout)


def may_have_better() -> bool:
    command = [sys.executable, "-c", "import os; os.setpriority(0, 0, -3)"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_every_thread_comes_back() -> None:
    before, low, inherited, after = look()
    assert low != before
    assert inherited == low
    assert after == [before, before]


def test_a_session_does_not_share_its_ray_s_better_priority() -> None:
    if not may_have_better():
        pytest.skip("better priorities are not to be had here")
    before, _, inherited, after = look(before="import os\nos.setpriority(0, 0, -3)\n")
    assert before[0] < 0 < inherited[0]
    assert after == [[0, 0], [0, 0]]


def test_without_privileges_nice_is_left_alone_and_batch_is_left_again() -> None:
    # As for whoever may not take nice back; this may be run by one who may.
    drop = "import agent_actor.priority as p\np._may_return_to = lambda nice: False\n"
    before, low, inherited, after = look(before=drop)
    assert low == inherited == [before[0], 3]
    assert after == [before, before]


def test_none_is_none() -> None:
    before, low, _, after = look(nice=0)
    assert low == before
    assert after == [before, before]
