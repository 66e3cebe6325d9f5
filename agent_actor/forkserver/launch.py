"""The launcher: asks the fork server for a worker, then stays for as long as the worker does.

Whatever goes wrong on the way, the worker is started plainly in this process's place, with one
line on standard error that says why. Nothing is sent to a server twice: see ``protocol`` for when
the plain way is closed.

Imports only what is there without site packages and quick to load; no dataclasses, no typing.
"""

from __future__ import annotations

import os
import sys
import time
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket
from fcntl import LOCK_EX, LOCK_NB, flock

from agent_actor.forkserver import protocol
from agent_actor.forkserver.place import Place, Unavailable, place_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

FORKED_WITHIN_S = 30.0
"""The first worker of a node waits until its server has imported everything, 4 s on an idle
machine. Ray gives a worker 60 s in all, so half of them are left for a plain start."""
LOCKED_WITHIN_S = 10.0
BACKLOG = 512
FAILED_FOR_S = 60.0
"""After a server that could not be brought up, workers start plainly at once for so long."""
_POLL_S = 0.01
_WAITING = _LISTENER = 3
_PRELOAD = "--preload="
_SERVER = """import sys
sys.path[0] = sys.argv[1]
from agent_actor.forkserver.server import main
main()"""
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main(arguments: list[str]) -> NoReturn:
    """``arguments``: [--preload=a,b], then what the interpreter would have been given."""
    preload, argv = "", arguments
    if arguments and arguments[0].startswith(_PRELOAD):
        preload, argv = arguments[0][len(_PRELOAD) :], arguments[1:]
    try:
        place = place_of(argv, dict(os.environ), sys.executable, preload, ROOT)
        connection = forked(place, preload, protocol.own_request(argv))
    except (Unavailable, OSError, ValueError) as error:
        tell(f"{error}")
        os.execv(sys.executable, [sys.executable, *argv])
    wait(connection)


def forked(place: Place, preload: str, request: protocol.Request) -> socket:
    """The connection to a worker that has been forked. Raises Unavailable or OSError."""
    if _age_s(_path(place, ".failed")) < FAILED_FOR_S:
        raise Unavailable("the fork server could not be started a moment ago")
    # A second time, because the first server may have been about to end, or was killed.
    for _ in range(2):
        connection = connect(place) or _connect_to_new(place, preload)
        given = False
        try:
            given = _asked(connection, request)
        finally:
            if not given:
                connection.close()
        if given:
            return connection
    raise Unavailable("the fork server ended without forking")


def connect(place: Place) -> socket | None:
    """None if nobody listens there."""
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        with_folder(place.folder, place.name, connection.connect)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def with_folder(folder: str, name: str, act: Callable[[str], object]) -> None:
    """``act`` on the address of socket ``name`` in ``folder``: by way of an open folder, as the
    kernel takes 107 bytes for an address and Ray's session folders may have longer paths."""
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        act(f"/proc/self/fd/{handle}/{name}")
    finally:
        os.close(handle)


def wait(connection: socket) -> NoReturn:
    """Until the worker is gone; exits as it did. The connection ends with this process, however
    that ends, and the worker with it.

    Waits as a shell: that takes a tenth of this interpreter's memory, for each live session.
    """
    os.dup2(connection.fileno(), _WAITING)
    os.set_inheritable(_WAITING, True)  # which dup2 leaves as it was if it is the same one
    script = f'IFS= read -r code <&{_WAITING}; exit "${{code:-1}}"'
    os.execv("/bin/sh", ["sh", "-c", script, "session-actor-launcher"])


def tell(why: str) -> None:
    """One line in the raylet's log, as JSON like all of ours."""
    text = why.replace("\\", "/").replace('"', "'")
    line = f'{{"event": "no_fork_server", "level": "warning", "why": "{text}", "start": "plain"}}\n'
    os.write(2, line.encode(errors="replace"))


def _asked(
    connection: socket, request: protocol.Request, within_s: float = FORKED_WITHIN_S
) -> bool:
    """Whether a worker was forked. False: for sure not, and it never will be."""
    connection.settimeout(within_s)
    handles = b"".join(each.to_bytes(4, sys.byteorder) for each in (0, 1, 2))
    message = protocol.encode(protocol.FORK, request)
    try:
        sent = connection.sendmsg([message], [(SOL_SOCKET, SCM_RIGHTS, handles)])
        connection.sendall(message[sent:])
        answer = connection.recv(len(protocol.FORKED))
    except TimeoutError:
        # Closing the connection ends whatever may yet be forked for it.
        raise Unavailable(f"no fork server within {within_s:g} s") from None
    except ConnectionError:
        return False
    connection.settimeout(None)
    return answer == protocol.FORKED


def _connect_to_new(place: Place, preload: str) -> socket:
    """One launcher starts the server, the others find it. The socket listens before the server
    is there: who connects meanwhile waits in its backlog, and is refused if it does not come up.
    """
    _make_folder(place.folder)
    lock = os.open(_path(place, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(lock)
        connection = connect(place)
        if connection is None:
            listener = _listen(place)
            connection = connect(place)
            _start_server(place, preload, listener)
            listener.close()
    finally:
        os.close(lock)
    if connection is None:
        raise Unavailable("the new fork server's socket is gone")
    return connection


def _make_folder(folder: str) -> None:
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        status = os.stat(folder, follow_symlinks=False)
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise Unavailable(f"{folder} is open to others") from None


def _lock(handle: int) -> None:
    deadline = time.monotonic() + LOCKED_WITHIN_S
    while True:
        try:
            return flock(handle, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unavailable(f"the lock was not free for {LOCKED_WITHIN_S:g} s") from None
            time.sleep(_POLL_S)


def _listen(place: Place) -> socket:
    if os.path.lexists(_path(place)):
        os.unlink(_path(place))  # of a server that was killed
    listener = socket(AF_UNIX, SOCK_STREAM)
    with_folder(place.folder, place.name, listener.bind)
    listener.listen(BACKLOG)
    return listener


def _start_server(place: Place, preload: str, listener: socket) -> None:
    """Detached from this process, and with its environment: Ray has read its own variables, the
    authentication token among them, when it is imported."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        _become_server(place, preload, listener)
    finally:
        os._exit(1)


def _become_server(place: Place, preload: str, listener: socket) -> None:
    log = os.open(_log_path(place), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.dup2(listener.fileno(), _LISTENER)
    os.set_inheritable(_LISTENER, True)
    os.closerange(_LISTENER + 1, os.sysconf("SC_OPEN_MAX"))
    arguments = [ROOT, place.folder, place.name, str(place.raylet_pid), preload]
    # One thread only may there be before a fork, and numpy would start some when imported.
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    os.execve(sys.executable, [sys.executable, "-c", _SERVER, *arguments], env)


def _log_path(place: Place) -> str:
    logs = os.path.join(os.path.dirname(os.path.dirname(place.folder)), "logs")
    folder = logs if os.path.isdir(logs) else place.folder
    return os.path.join(folder, f"fork-server-{place.name}.log")


def _path(place: Place, suffix: str = "") -> str:
    return os.path.join(place.folder, place.name + suffix)


def _age_s(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except FileNotFoundError:
        return float("inf")
