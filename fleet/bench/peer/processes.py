"""CPU and memory of an arm's own processes, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from fleet.bench.processes import pss_mib as pss_mib_of

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
CLOCKS_S = 1.0
"""Between a process's start by the kernel and what it says of the time; it says so later."""
FORK_SERVER = "session-actor fork server"
"""What it calls itself."""
_JOBS = "multiprocessing"
_FORKS = {FORK_SERVER: "ray::SessionActor", "raylet": "session-actor-launcher", _JOBS: _JOBS}
"""The name of who forks: the name of whom."""
_UTIME = 11
"""Of the fields after the name in /proc/PID/stat; stime, cutime and cstime follow."""


def trees(roots: Iterable[int]) -> set[int]:
    """The living processes of ``roots`` and all that descends from them."""
    found: set[int] = set()
    for root in roots:
        try:
            process = psutil.Process(root)
            found |= {root, *(child.pid for child in process.children(recursive=True))}
        except psutil.Error:
            continue
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """What they and those of their children that have ended have used since they began.

    Ended children count with whoever waited for them, so what ``trees`` finds never goes back as
    long as its roots live.
    """
    return sum(_ticks(pid, 4) for pid in pids) / _TICKS_A_SECOND


def own_cpu_s(pids: Iterable[int]) -> float:
    """What they have used themselves."""
    return sum(_ticks(pid, 2) for pid in pids) / _TICKS_A_SECOND


def cpu_by_part(pids: Iterable[int]) -> dict[str, float]:
    """``cpu_s`` by what the processes are: those of one name together. A part that forks others of
    a name has those that ended counted with them, see ``_FORKS``."""
    used: dict[str, float] = {}
    for pid in pids:
        for name in _name(pid):
            own, ended = _ticks(pid, 2), _ticks(pid, 4) - _ticks(pid, 2)
            used[name] = used.get(name, 0.0) + own / _TICKS_A_SECOND
            forked = _FORKS.get(name, f"ended children of {name}")
            used[forked] = used.get(forked, 0.0) + ended / _TICKS_A_SECOND
    return used


def pss_mib(pids: Iterable[int]) -> float:
    """Their share of memory: private pages, and of shared ones the part that falls to each."""
    total = 0.0
    for pid in pids:
        # One that has just ended has no memory to tell of.
        with suppress(OSError, StopIteration):
            total += pss_mib_of(pid)
    return total


def names(pids: Iterable[int]) -> dict[str, int]:
    """How many of them go by each name: for the list of what was counted."""
    counts: dict[str, int] = {}
    for pid in pids:
        for name in _name(pid):
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def is_alive(pid: int, seen_at: float) -> bool:
    """Whether the process that was seen at ``seen_at``, epoch seconds, is. Its number may be
    another one's by now, or that of a thread, which looks the same."""
    try:
        process = psutil.Process(pid)
        same = process.create_time() <= seen_at + CLOCKS_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _ticks(pid: int, fields: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The name, in parentheses, may hold anything.
    after_name = stat.rpartition(")")[2].split()
    return sum(int(each) for each in after_name[_UTIME : _UTIME + fields])


def _name(pid: int) -> Iterator[str]:
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return
    if not words:
        return
    if FORK_SERVER in words[0]:
        yield FORK_SERVER
        return
    first = os.path.basename(words[0].split()[0])
    if not first.startswith("python"):
        # Ray shows the method that an actor is in.
        named = first.partition(".")[0] if first.startswith("ray::") else first
        yield "session-actor-launcher" if "session-actor-launcher" in words else named
        return
    after = words[words.index("-m") + 1 :] if "-m" in words else words[1:]
    told = next((os.path.basename(word) for word in after if not word.startswith("-")), first)
    yield _JOBS if _JOBS in " ".join(words) else told
