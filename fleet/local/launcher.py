"""Become another program that is killed when the process that started it dies (Linux).

Run as a plain file: ``python -I -S launcher.py PARENT_PID PROGRAM ARGUMENT...``. A step between
fork and exec in the parent itself (`preexec_fn`) may deadlock there, as the parent has threads.

The kernel ties the child to the *thread* that started it, so start parts from a thread that lives
as long as they shall. Other systems have no such tie: there only an orderly end stops the parts.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent_pid: int, command: list[str]) -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        # The parent may have died before the tie was made; then nobody would end this process.
        if os.getppid() != parent_pid:
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
