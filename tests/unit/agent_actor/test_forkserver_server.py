"""Launcher, server and worker as real processes, with scripts of ours in place of Ray's."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_actor.forkserver import launch, protocol, server
from agent_actor.forkserver.place import Place, place_of
from tests.unit.agent_actor import forkserver_stub

LAUNCHER = Path(launch.__file__).with_name("launcher.py")
TELLING = """
import json, os, random, sys
print(json.dumps({
    "pid": os.getpid(), "parent": os.getppid(), "group": os.getpgid(0), "cwd": os.getcwd(),
    "session": os.getsid(0),
    "argv": sys.argv, "env": dict(os.environ), "path": sys.path[0], "dice": random.random(),
    "handles": sorted(int(each) for each in os.listdir("/proc/self/fd")),
}), flush=True)
code = sys.stdin.readline().strip()
if code:
    os._exit(int(code))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


class Node:
    """A raylet that does nothing, a server that has imported nothing, and its launchers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._owned: list[subprocess.Popen[str]] = []
        self.raylet = self._run(["sleep", "60"], {})
        # The locale, because an interpreter that finds none sets one.
        self.env = {"RAY_RAYLET_PID": str(self.raylet.pid), "LC_ALL": "C.UTF-8"}
        workers = root / "site-packages" / "ray" / "_private" / "workers"
        workers.mkdir(parents=True)
        self.script = workers / "default_worker.py"
        self.script.write_text(TELLING)
        (root / "sockets" / "fork").mkdir(parents=True, mode=0o700)
        self.argv = [str(self.script), f"--raylet-name={root}/sockets/raylet"]

    def place(self) -> Place:
        return place_of(self.argv, self.env, sys.executable, "", launch.ROOT)

    def server(self, *, idle_s: float = 60) -> subprocess.Popen[str]:
        place = self.place()
        arguments = [place.folder, place.name, str(place.raylet_pid), str(idle_s)]
        started = self._run(
            [sys.executable, forkserver_stub.__file__, *arguments], dict(os.environ)
        )
        assert line_of(started) == "ready"
        return started

    def launch(self, **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-I", "-S", str(LAUNCHER), *self.argv]
        return self._run(command, {**self.env, **env})

    def close(self) -> None:
        for process in self._owned:
            process.kill()
            process.communicate()

    def _run(self, command: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=Path.cwd()
        )
        self._owned.append(process)
        return process


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    try:
        yield node
    finally:
        node.close()


def line_of(process: subprocess.Popen[str], within_s: float = 20) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], within_s)
    assert ready, "nothing was said in time"
    return process.stdout.readline().strip()


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(line_of(process))
    return answer


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def gone(pid: int, within_s: float = 10) -> bool:
    """Whether the process ends in time. It need not be a child of ours."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], within_s)[0])
    finally:
        os.close(handle)


def test_a_worker_is_what_it_would_have_been_plainly(node: Node) -> None:
    server = node.server()
    forked = told(node.launch(FLEET_X="1"))
    session = os.getsid(server.pid)
    server.kill()
    server.wait()
    (node.root / "sockets/fork" / node.place().name).unlink()
    plain = subprocess.run(
        [sys.executable, *node.argv],
        env={**node.env, "FLEET_X": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = json.loads(plain.stdout)
    assert forked["parent"] == server.pid
    for same in ("argv", "cwd", "env", "path"):
        assert forked[same] == expected[same], same
    # Nothing of the server's but the connection that ties it to its launcher.
    assert len(forked["handles"]) == len(expected["handles"]) + 1
    assert forked["group"] == forked["pid"]
    assert forked["session"] == session


def test_workers_do_not_share_their_dice(node: Node) -> None:
    node.server()
    first, second = told(node.launch()), told(node.launch())
    assert first["dice"] != second["dice"]


def test_an_exit_status_is_passed_on(node: Node) -> None:
    node.server()
    launcher = node.launch()
    told(launcher)
    say(launcher, "7")
    assert launcher.wait(10) == 7


def test_a_killed_worker_ends_its_launcher_and_no_other(node: Node) -> None:
    node.server()
    launcher, other = node.launch(), node.launch()
    worker, sibling = told(launcher)["pid"], told(other)["pid"]
    os.kill(worker, signal.SIGKILL)
    assert launcher.wait(10) == protocol.SIGNALLED + signal.SIGKILL
    assert other.poll() is None
    os.kill(sibling, 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_launcher_takes_its_worker_with_it(node: Node, number: signal.Signals) -> None:
    node.server()
    launcher = node.launch()
    worker = told(launcher)["pid"]
    launcher.send_signal(number)
    assert gone(worker)


def test_workers_outlive_a_killed_server_and_stay_tied(node: Node) -> None:
    server = node.server()
    launcher, other = node.launch(), node.launch()
    worker, sibling = told(launcher)["pid"], told(other)["pid"]
    server.kill()
    server.wait()
    os.kill(worker, 0)
    launcher.kill()
    assert gone(worker)
    say(other, "0")
    assert gone(sibling)
    assert other.wait(10) == 1  # nobody is left who knows the status


def test_the_server_ends_with_its_raylet_and_no_worker_stays(node: Node) -> None:
    server = node.server()
    worker = told(node.launch())["pid"]
    node.raylet.kill()
    node.raylet.wait()
    # It gives workers a few seconds to go by themselves, as Ray's do.
    assert gone(worker)
    assert server.wait(10) == 0


def test_a_retired_server_ends_with_its_last_worker(node: Node) -> None:
    server = node.server()
    launcher = node.launch()
    told(launcher)
    connection = launch.connect(node.place())
    assert connection is not None
    connection.send(protocol.encode(protocol.RETIRE))
    assert connection.recv(1) == b""
    connection.close()
    assert launch.connect(node.place()) is None
    assert server.poll() is None
    say(launcher, "0")
    assert server.wait(10) == 0


def test_an_idle_server_ends(node: Node) -> None:
    assert node.server(idle_s=0.05).wait(10) == 0
    assert launch.connect(node.place()) is None


def test_who_is_given_up_is_never_a_worker(node: Node) -> None:
    """The launcher's patience ends while its request waits: it may start the worker plainly."""
    server = node.server()
    server.send_signal(signal.SIGSTOP)
    connection = launch.connect(node.place())
    assert connection is not None
    marker = node.root / "ran"
    node.script.write_text(f"open({str(marker)!r}, 'w')")
    with pytest.raises(launch.Unavailable):
        _ask_impatiently(connection, node)
    connection.close()
    server.send_signal(signal.SIGCONT)
    # One after the other: when the next is through, the one given up was dealt with.
    node.script.write_text(TELLING)
    told(node.launch())
    assert not marker.exists()


def _ask_impatiently(connection: Any, node: Node) -> None:
    request = protocol.Request(
        [os.fsencode(each) for each in node.argv], os.getcwdb(), {b"A": b"1"}
    )
    launch._asked(connection, request, within_s=0.05)


def test_without_a_server_it_starts_plainly_and_says_so(node: Node) -> None:
    place = node.place()
    Path(place.folder, f"{place.name}.failed").touch()
    launcher = node.launch()
    assert told(launcher)["pid"] == launcher.pid
    say(launcher, "4")
    assert launcher.wait(10) == 4
    assert launcher.stderr is not None
    line = json.loads(launcher.stderr.readline())
    assert (line["event"], line["start"]) == ("no_fork_server", "plain")


def test_a_folder_that_others_may_enter_is_not_used(node: Node) -> None:
    Path(node.place().folder).chmod(0o755)
    launcher = node.launch()
    assert told(launcher)["pid"] == launcher.pid


def test_a_server_that_ends_without_forking_is_no_obstacle(node: Node) -> None:
    """Somebody listens who takes no request: the worker starts plainly, and once."""
    place = node.place()
    listener = launch._listen(place)
    launcher = node.launch()
    for _ in range(2):
        connection, _ = _accept(listener)
        connection.close()
    assert told(launcher)["pid"] == launcher.pid
    listener.close()


def test_a_server_that_cannot_be_brought_up_is_not_tried_at_once_again(node: Node) -> None:
    broken = node.root / "broken" / "livekit"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('broken')")
    env = {"PYTHONPATH": str(broken.parent)}
    first = node.launch(**env)
    assert told(first)["pid"] == first.pid
    assert len(list((node.root / "sockets" / "fork").glob("*.failed"))) == 1
    second = node.launch(**env)
    assert told(second)["pid"] == second.pid
    assert second.stderr is not None
    assert "a moment ago" in second.stderr.readline()


def test_who_has_threads_is_not_forked_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.os, "listdir", lambda _: ["1", "2"])
    with pytest.raises(server.NotFit, match="2 threads"):
        server.check_fit(raylet_pid=0)


def test_who_would_be_ended_by_the_raylet_is_not_forked_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server.os, "listdir", lambda _: ["1"])
    server.check_fit(raylet_pid=0)
    with pytest.raises(server.NotFit, match="subreaper"):
        server.check_fit(raylet_pid=os.getppid())


def _accept(listener: Any) -> Any:
    whole = socket.socket(fileno=os.dup(listener.fileno()))
    try:
        whole.settimeout(10)
        return whole.accept()
    finally:
        whole.close()
