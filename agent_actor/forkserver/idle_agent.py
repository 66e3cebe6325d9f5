"""In place of a node's dashboard agent, without which Ray's raylet does not start: tells it, as the
agent of a minimal Ray does, that none of the agent's services is there, and ends with it.

Run as a plain file, ``python -I -S idle_agent.py ... --node-id=ID --session-dir=FOLDER ...``, with
the arguments that the agent would have been given.
"""

from __future__ import annotations

import os
import sys
import time

SERVICES = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
"""The files in the session's folder, but for the node's id, that the raylet waits for."""
NOT_THERE = "-1"
POLL_S = 0.5


def main(arguments: list[str]) -> None:
    given = dict(each.split("=", 1) for each in arguments if "=" in each)
    for service in SERVICES:
        path = os.path.join(given["--session-dir"], f"{service}_{given['--node-id']}")
        with open(f"{path}.part", "w", encoding="ascii") as file:
            file.write(NOT_THERE)
        # Whoever waits for it reads it as soon as it is there.
        os.replace(f"{path}.part", path)
    raylet_pid = int(os.environ["RAY_RAYLET_PID"])
    while os.getppid() == raylet_pid:
        time.sleep(POLL_S)


if __name__ == "__main__":
    main(sys.argv[1:])
