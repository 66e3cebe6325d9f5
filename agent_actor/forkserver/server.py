"""The fork server: imports everything once, then forks a worker for each launcher that asks.

One thread, one loop, no clock but for idleness. It ends with its node: when the raylet is gone,
when it has been idle for long, or, once a server of newer code has asked it to, with its last
worker. A server that is killed takes nothing with it: its workers live on, and the next launcher
starts another.

The one way back from ``serve`` is in a worker that has just been forked; the server itself exits.
That way nothing of the server's stack is left beneath a worker.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from agent_actor.forkserver import launch, preload, protocol, ray_private
from agent_actor.forkserver.child import become
from agent_actor.forkserver.place import Place
from agent_actor.logs import configure_logs

IDLE_S = 600.0
"""Without a worker and without a request for so long, it ends; it comes back when asked for."""
REQUEST_S = 5.0
LEAVE_S = 5.0
"""Ray's workers end by themselves within a second of their raylet; then they are killed."""
_LISTENER = 3
_HANDLES = 3

log = structlog.get_logger(__name__)


class NotFit(Exception):
    """This process must not be forked from, and why."""


def main() -> None:
    """Run by the launcher, with its own root, the place and the modules to import as arguments."""
    _, folder, name, raylet_pid, modules = sys.argv[1:]
    configure_logs("fork-server")
    place = Place(folder, name, int(raylet_pid))
    listener = socket.socket(fileno=_LISTENER)
    listener.set_inheritable(False)
    try:
        raylet = os.pidfd_open(place.raylet_pid)
        started = time.monotonic()
        preload.load(tuple(filter(None, modules.split(","))))
        check_fit(place.raylet_pid)
    except BaseException:
        Path(place.folder, f"{place.name}.failed").touch()
        log.exception("fork server failed")
        raise SystemExit(1) from None
    log.info("fork server ready", place=place.name, took_s=round(time.monotonic() - started, 2))
    retire_others(place)
    worker = Server(place, listener, raylet).serve()
    ray_private.run_worker(become(worker.request, worker.handles, worker.connection))


def check_fit(raylet_pid: int) -> None:
    """Raises NotFit. A fork copies one thread and leaves the locks of the others locked."""
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise NotFit(f"{threads} threads after the imports")
    if os.getppid() == raylet_pid:
        # It would kill us, and the workers as our orphans, with the next worker that ends.
        raise NotFit("the raylet is a subreaper and ends what it did not start")


def retire_others(place: Place) -> None:
    """Ask servers of the same node and environment, but of other code, to end when they can."""
    node = place.name.partition("-")[0]
    for path in Path(place.folder).glob(f"{node}-*"):
        if path.is_socket() and path.name != place.name:
            other = launch.connect(Place(place.folder, path.name, place.raylet_pid))
            if other is None:
                path.unlink(missing_ok=True)
                continue
            with suppress(OSError):
                other.send(protocol.encode(protocol.RETIRE))
            other.close()


@dataclass(frozen=True, kw_only=True)
class NewWorker:
    """What the child of a fork is to become. It owns both the connection and the handles."""

    request: protocol.Request
    handles: tuple[int, ...]
    connection: socket.socket


@dataclass(frozen=True, kw_only=True)
class _Worker:
    pid: int
    connection: socket.socket


@dataclass
class Server:
    """``raylet`` is a pidfd, as are the keys of ``workers``: they become readable at the end."""

    place: Place
    listener: socket.socket
    raylet: int
    idle_s: float = IDLE_S
    workers: dict[int, _Worker] = field(default_factory=dict)
    retired: bool = False
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def serve(self) -> NewWorker:
        """Returns in a forked worker only. Raises SystemExit in the server."""
        self._selector.register(self.listener, selectors.EVENT_READ)
        self._selector.register(self.raylet, selectors.EVENT_READ)
        gc.collect()
        gc.freeze()
        while True:
            ready = [key.fd for key, _ in self._selector.select(self._patience_s())]
            if self.raylet in ready:
                self._end_with_raylet()
            for fd in ready:
                if fd in self.workers:
                    self._bury(fd)
            if not self.retired and self.listener.fileno() in ready:
                worker = self._answer()
                if worker is not None:
                    return worker
            if not self.workers and (self.retired or not ready):
                self._retire()
                log.info("fork server ends", idle=not self.retired)
                raise SystemExit(0)

    def _patience_s(self) -> float | None:
        return None if self.workers else self.idle_s

    def _answer(self) -> NewWorker | None:
        connection, _ = self.listener.accept()
        try:
            connection.settimeout(REQUEST_S)
            request, handles = receive(connection)
            connection.settimeout(None)
        except (OSError, protocol.BadRequest) as error:
            log.warning("request refused", error_type=type(error).__name__)
            connection.close()
            return None
        if request is None:
            # The close is the answer: from then on nobody is let in.
            self._retire()
            connection.close()
            return None
        return self._fork(request, handles, connection)

    def _fork(
        self, request: protocol.Request, handles: tuple[int, ...], connection: socket.socket
    ) -> NewWorker | None:
        try:
            pid = os.fork()
        except OSError as error:
            log.warning("fork failed", errno=error.errno)
            connection.close()
            pid = -1
        if pid == 0:
            self._forget()
            return NewWorker(request=request, handles=handles, connection=connection)
        for handle in handles:
            os.close(handle)
        if pid > 0:
            watch = os.pidfd_open(pid)
            self.workers[watch] = _Worker(pid=pid, connection=connection)
            self._selector.register(watch, selectors.EVENT_READ)
        return None

    def _bury(self, watch: int) -> None:
        worker = self.workers.pop(watch)
        self._selector.unregister(watch)
        os.close(watch)
        _, status = os.waitpid(worker.pid, 0)
        with suppress(OSError):
            worker.connection.send(protocol.encode_exit(status))
        worker.connection.close()

    def _retire(self) -> None:
        """Ask no more workers of it: the name goes first, so that it may be given anew."""
        if not self.retired:
            self.retired = True
            Path(self.place.folder, self.place.name).unlink(missing_ok=True)
            self._selector.unregister(self.listener)
            self.listener.close()

    def _end_with_raylet(self) -> None:
        self._selector.unregister(self.raylet)
        self._retire()
        deadline = time.monotonic() + LEAVE_S
        while self.workers and (left_s := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left_s):
                self._bury(key.fd)
        for worker in self.workers.values():
            os.kill(worker.pid, signal.SIGKILL)
        log.info("fork server ends with its node", killed=len(self.workers))
        raise SystemExit(0)

    def _forget(self) -> None:
        """In a forked worker: nothing of the server's is its own. A connection of another worker
        kept open would hide that one's end from its launcher."""
        self._selector.close()
        self.listener.close()
        os.close(self.raylet)
        for watch, worker in self.workers.items():
            os.close(watch)
            worker.connection.close()
        self.workers.clear()


def receive(connection: socket.socket) -> tuple[protocol.Request | None, tuple[int, ...]]:
    """A whole request: for a FORK the worker and its descriptors, for a RETIRE none. Raises
    BadRequest or OSError; then no descriptor is left open."""
    _check_peer(connection)
    room = socket.CMSG_SPACE(_HANDLES * struct.calcsize("i"))
    header, ancillary, _, _ = connection.recvmsg(protocol.HEADER_BYTES, room)
    handles = _handles(ancillary)
    try:
        header += _exactly(connection, protocol.HEADER_BYTES - len(header))
        kind, size = protocol.decode_header(header)
        if kind == protocol.RETIRE:
            return None, ()
        if len(handles) != _HANDLES:
            raise protocol.BadRequest("not three descriptors")
        return protocol.decode_body(_exactly(connection, size)), handles
    except BaseException:
        for handle in handles:
            os.close(handle)
        raise


def _check_peer(connection: socket.socket) -> None:
    _, uid, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    if uid != os.getuid():
        raise protocol.BadRequest("another user")


def _handles(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, ...]:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            return struct.unpack(f"{len(data) // struct.calcsize('i')}i", data)
    return ()


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size > 0:
        part = connection.recv(min(size, 1 << 20))
        if not part:
            raise protocol.BadRequest("a request cut short")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
