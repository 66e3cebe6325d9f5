"""What a process of this machine costs: CPU by thread name, memory. Linux."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from pathlib import Path

_KIB_PER_MIB = 1024
_NS_PER_S = 1_000_000_000


def cpu_s_by_thread(pid: int) -> dict[tuple[int, str], float]:
    """Of each thread that is alive, by its id and name, since it began."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            ns = int((task / "schedstat").read_text().split()[0])
            name = (task / "comm").read_text().strip()
            found[int(task.name), name] = ns / _NS_PER_S
    return found


def spent(
    before: dict[tuple[int, str], float], after: dict[tuple[int, str], float]
) -> dict[str, float]:
    """CPU-s between two looks, by thread name; of threads that ended meanwhile nothing."""
    by_name: defaultdict[str, float] = defaultdict(float)
    for key, cpu_s in after.items():
        by_name[key[1]] += cpu_s - before.get(key, 0.0)
    return dict(by_name)


def pss_mib(pid: int) -> float:
    """The process's share of the memory that it has in RAM."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / _KIB_PER_MIB
