"""The scaler and Ray's own autoscaler together: nodes come for a burst, and go when it is over, but
none with a session. See ``autoscaled_fleet``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.integration.autoscaled_fleet import BURST, MOST_NODES, SLOTS

REPOSITORY = Path(__file__).parents[2]
WITHIN_S = 400

log = structlog.get_logger(__name__)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's loopback addresses")
@pytest.mark.timeout(WITHIN_S + 20)
async def test_nodes_follow_a_burst_and_none_goes_with_a_session_on_it() -> None:
    told = await told_by_a_process_of_its_own()
    log.info("measured", **told)
    # No node, so no actor: none was put on the head, which takes no sessions.
    assert (told["at_first"]["nodes"], told["at_first"]["elsewhere"]) == ([], 0)
    grown = told["grown"]
    assert len(grown["nodes"]) == MOST_NODES
    assert sum(grown["live"].values()) == BURST
    assert max(grown["live"].values()) <= SLOTS
    assert grown["elsewhere"] == 0
    # The one that still carries a session is left, and its actor has not been touched.
    assert told["ended"]["live"] == {told["last_node"]: 1}
    assert told["shrunk"]["nodes"] == [told["last_node"]]
    assert told["shrunk"]["live"] == {told["last_node"]: 1}
    assert told["same_actor"]


async def told_by_a_process_of_its_own() -> dict[str, Any]:
    # This process's own Ray and its nodes must not be taken for the other's.
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.autoscaled_fleet"),
        cwd=REPOSITORY,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            said, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()[-4000:]
    return dict(json.loads(said.decode().splitlines()[-1]))
