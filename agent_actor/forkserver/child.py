"""From a copy of the fork server to the worker that a launcher asked for."""

from __future__ import annotations

import fcntl
import gc
import os
import random
import select
import signal
import socket
import sys
from importlib import import_module

from agent_actor import priority
from agent_actor.forkserver import protocol

_F_SETSIG = 10
"""Linux; Python's fcntl module has no name for it."""
_STANDARD = (0, 1, 2)

_forked_by: int | None = None


def forked_by() -> int | None:
    """The pid of the fork server that this process comes from; None if it was started plainly."""
    return _forked_by


def become(
    request: protocol.Request, handles: tuple[int, ...], connection: socket.socket
) -> list[str]:
    """Take over what ``request`` and ``handles`` say and tell the launcher; the worker's argv.

    Ends the process if the launcher is gone: nobody must become a worker that was given up.
    """
    global _forked_by
    _forked_by = os.getppid()
    # Ray expects a process group for each worker, and signals meant for the server to miss it. No
    # session: where the kernel shares the CPU out by sessions (autogroups) each would get as much
    # as all of Ray, and on a full machine nobody could ask the control plane for anything.
    os.setpgid(0, 0)
    tie_to_launcher(connection)
    for source, target in zip(handles, _STANDARD, strict=True):
        os.dup2(source, target)
        os.close(source)
    os.chdir(request.cwd)
    take_environment(request.env)
    priority.lower(priority.wanted_nice())
    argv = [os.fsdecode(each) for each in request.argv]
    sys.argv = argv
    # As the interpreter does for a script.
    sys.path[0] = os.path.dirname(argv[0])
    reseed()
    gc.enable()
    connection.sendall(protocol.FORKED)
    # Held for as long as the process lives, whatever closes Python's objects at its end.
    connection.detach()
    return argv


def tie_to_launcher(connection: socket.socket) -> None:
    """Have the kernel kill this process as soon as the other end of ``connection`` is closed.

    The kernel, because Ray ends a worker that is starting by killing its launcher, and a thread
    that watches may not run when it should. The server need not live for it.
    """
    handle = connection.fileno()
    fcntl.fcntl(handle, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(handle, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(handle, fcntl.F_GETFL)
    fcntl.fcntl(handle, fcntl.F_SETFL, flags | os.O_ASYNC)
    watch = select.poll()
    watch.register(handle, select.POLLIN)
    if watch.poll(0):
        # Closed before the tie was made: no signal comes for that any more.
        os._exit(1)


def take_environment(env: dict[bytes, bytes]) -> None:
    """``env`` and nothing else: the server's own variables are those of its first worker."""
    os.environb.clear()
    os.environb.update(env)


def reseed() -> None:
    """Dice of its own. ``random`` and OpenSSL see to that themselves after a fork; this is for
    who has taken the former's place, and for numpy, which does not."""
    random.seed()
    if "numpy" in sys.modules:
        import_module("numpy.random").seed()
