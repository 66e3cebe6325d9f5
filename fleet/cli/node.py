"""``fleet node``: what runs a Ray node, and drains it before it goes.

For whoever stops nodes with SIGTERM, as Kubernetes does with a pod: the command (`ray start
--block`) is our child; on SIGTERM the node is drained by the API, then the child is told.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence

from fleet.cli.client import ApiClient, ApiProblem
from fleet.cli.drain import run_drain

CHILD_GRACE_S = 30.0
PATIENCE_S = 600.0
"""With an API that is not there. Whoever stops us has a grace of its own."""


def run_node(
    command: Sequence[str], *, api: str | None, address: str | None, deadline_s: float | None
) -> int:
    """The command's own exit status. A second SIGTERM, or the API's refusal, ends the waiting:
    then interviews here are recovered elsewhere, with a longer silence.
    """
    # Before anything is started: without an API there would be nobody to ask on the way out.
    with ApiClient.find(api) as client:
        url = client.url
    asked = threading.Event()
    child = subprocess.Popen(command, start_new_session=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _ask(asked))
    while child.poll() is None and not asked.wait(0.2):
        pass
    if child.poll() is None:
        try:
            run_drain(
                url,
                address or socket.gethostname(),
                deadline_s=deadline_s,
                wait=True,
                patience_s=PATIENCE_S,
            )
        except (ApiProblem, _Hurry) as problem:
            sys.stderr.write(f"not drained: {problem}\n")
        child.terminate()
    return _wait(child)


class _Hurry(Exception):
    pass


def _ask(asked: threading.Event) -> None:
    if asked.is_set():
        raise _Hurry("told to hurry")
    asked.set()


def _wait(child: subprocess.Popen[bytes]) -> int:
    try:
        return child.wait(CHILD_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
