"""What this process owes its parent: dying with it, ending without an accident, and knowing when it
was started. Linux.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent ends; ends now if it already has.

    The parent is the thread that started this process: a short-lived one takes us with it.
    Where prctl does not exist (not Linux) this does nothing.
    """
    parent = os.getppid()
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def leave(status: int) -> NoReturn:
    """End this process with ``status``, without taking the interpreter apart.

    Before Python 3.14 a foreign thread that asks for the interpreter's lock while it is being
    taken apart is unwound on the spot (pthread_exit). LiveKit's threads do ask, with the events of
    rooms that its own exit hook has just closed, and Rust aborts a process that is unwound through
    it: "panic in a function that cannot unwind", SIGABRT after all work was done. Seen in 2 of 48
    processes that ended with open rooms. So everything that Python does before that point is done,
    and nothing after it.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def started_epoch_s() -> float:
    """When this process was started, interpreter and imports included; to 10 ms on Linux."""
    now_s = time.time()
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        boot_age_s = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return now_s
    age_s = boot_age_s - ticks / os.sysconf("SC_CLK_TCK")
    return now_s - max(0.0, age_s)
