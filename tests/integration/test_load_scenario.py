"""Real participants beside Locust: gevent here, asyncio and the native library in a child."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
IN_LOCUST = """
import json, sys
import locust
import gevent
from gevent.event import AsyncResult
from loadtest.scenario.crowd import Crowd

crowd, ended, turns = Crowd(a_process=2), AsyncResult(), []

def count():
    while True:
        turns.append(1)
        gevent.sleep(0.01)

counting = gevent.spawn(count)
order = {"id": "p", "url": "ws://127.0.0.1:9", "token": "x", "script": "silent"}
crowd.hold("p")
crowd.join(order, lambda line: ended.set(line) if line["event"] != "started" else None)
line = ended.get(timeout=60)
crowd.close()
sys.stdout.write(json.dumps({**line, "turns": len(turns)}))
"""


def test_a_participant_runs_beside_gevent_and_blocks_no_greenlet() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_LOCUST],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    line = json.loads(done.stdout)
    assert (line["id"], line["event"], line["error"]) == ("p", "failed", "ServerUnreachable")
    assert line["turns"] > 20
