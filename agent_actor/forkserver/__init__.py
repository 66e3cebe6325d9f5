"""Session actors forked from a process that has imported everything: docs/forkserver.md.

``command`` is all that others need: what to give Ray as the ``py_executable`` of an actor's
runtime_env. Imports nothing, as the launcher comes through here too.
"""

from __future__ import annotations

import os
import sys


def available() -> bool:
    """Whether this system has what it takes; without it a worker starts plainly."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


def command(preload: tuple[str, ...] = ()) -> str:
    """The shell words before a worker's own arguments. They name this interpreter and this
    installation, so every node must have both at the same paths, as Ray itself needs them.

    ``preload``: modules to import before the fork, beside those of the session actor itself.
    """
    import shlex

    launcher = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launcher.py")
    words = [sys.executable, "-I", "-S", launcher]
    if preload:
        words.append(f"--preload={','.join(preload)}")
    return shlex.join(words)
