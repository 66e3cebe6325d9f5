"""What a benchmark runs on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

from fleet.bench.report import Machine

GIB = 1024**3


def this_machine() -> Machine:
    return Machine(
        cores=os.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / GIB, 1),
        kernel=f"{platform.system()} {platform.release()}",
        cpu=_cpu_model(),
        python=platform.python_version(),
    )


def load_average() -> float:
    """Of the last minute."""
    return os.getloadavg()[0]


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
