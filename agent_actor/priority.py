"""A worker that gets ready gives way to those that carry live audio.

``lower`` in a worker that has just been forked, ``restore`` once it is warm: a live session runs at
the priority that Ray gave its worker, or at the usual one where Ray itself has a better one: a
control plane that waits for its sessions can end none of them. Two means, because neither works
everywhere:

* nice, where this process may take it back (CAP_SYS_NICE, or an RLIMIT_NICE that allows it);
* SCHED_BATCH elsewhere, which any process may leave again: it no longer preempts whoever runs when
  it wakes, though its share of the CPU stays the same.

The workers of a node are in one session (``setsid``), their fork server's, so in one autogroup,
within which the kernel weighs nice. Linux. Both do what they can and never raise.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress

NICE = 10
VARIABLE = "FLEET_WARM_NICE"
"""0 to 19; 0 leaves the priority as it is. Read before any settings are: a worker that is being
made is what it is about."""

_RLIMIT_NICE_OF_0 = 20
_CAP_SYS_NICE = 1 << 23
_usual_nice: int | None = None


def wanted_nice() -> int:
    """What the environment says. Whatever is no such number stands for the default."""
    text = os.environ.get(VARIABLE, "")
    return min(int(text), 19) if text.isdecimal() else NICE


def lower(nice: int) -> None:
    """Once, while this process has one thread: those to come inherit it."""
    global _usual_nice
    if nice == 0:
        return
    with suppress(OSError):
        _usual_nice = max(0, os.getpriority(os.PRIO_PROCESS, 0))
        if _may_return_to(_usual_nice):
            os.setpriority(os.PRIO_PROCESS, 0, _usual_nice + nice)
        else:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def restore() -> None:
    """Every thread at its usual priority."""
    global _usual_nice
    if _usual_nice is None:
        return
    for name in os.listdir("/proc/self/task"):
        # A thread may end meanwhile.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, int(name), _usual_nice)
            os.sched_setscheduler(int(name), os.SCHED_OTHER, os.sched_param(0))
    _usual_nice = None


def _may_return_to(nice: int) -> bool:
    soft, _ = resource.getrlimit(resource.RLIMIT_NICE)
    return soft >= _RLIMIT_NICE_OF_0 - nice or bool(_capabilities() & _CAP_SYS_NICE)


def _capabilities() -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next((int(s.split()[1], 16) for s in status if s.startswith("CapEff:")), 0)
