"""How the participants' process ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

ENDING = """
import atexit, sys, threading
from loadtest.participants.process import leave

class TakenApart:
    def __del__(self):
        print("taken apart", flush=True)

kept = TakenApart()
atexit.register(print, "exit hook")
asked = threading.Event()

def work():
    asked.wait()
    print("thread")

threading.Thread(target=work).start()
threading.Timer(0.05, asked.set).start()
print("main")
"""


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ("leave(7)", ["main", "thread", "exit hook"]),
        ("sys.exit(7)", ["main", "thread", "exit hook", "taken apart"]),
    ],
)
def test_leaving_does_all_that_an_exit_does_but_take_the_interpreter_apart(
    ends: str, said: list[str]
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDING + ends], capture_output=True, text=True, timeout=30
    )

    assert ended.stdout.split("\n")[:-1] == said
    assert (ended.returncode, ended.stderr) == (7, "")
