"""The parts as processes: they become ready, they can be lost, and nothing of them is left over."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from livekit import api
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from fleet.local import server as server_module
from fleet.local.errors import PartExited, PartNotReady, ToolUnavailable
from fleet.local.livekit import LiveKitAccess, LiveKitServer, livekit
from fleet.local.processes import ChildProcess, Command, free_ports, running, start
from fleet.local.ray_cluster import RayCluster
from fleet.local.redis import Fsync, RedisServer, Transport, redis
from fleet.local.run_dir import RunDir, remove_dead
from fleet.local.simulators import Simulator, SimulatorKind, simulator

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="the kernel's tie to the parent is Linux"
)
DEADLINE_S = 10.0


def wait_until(true: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end, f"not within {deadline_s:g} s"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    """Whether the process runs; a zombie that its parent has not yet fetched does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def processes_of(folder: Path) -> list[int]:
    """The processes, of whatever parent, with `folder` in their command line."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in line:
                found.append(int(entry.name))
    return found


def python(name: str, code: str) -> Command:
    return Command(name=name, program=sys.executable, arguments=["-c", textwrap.dedent(code)])


def owner_that_holds(part: str) -> subprocess.Popen[str]:
    """Another process that opens a part, prints one line of JSON about it, and waits for a line.

    Used from plain tests, not from async ones: while they block, Ctrl-C still ends them.
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(part)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


# --- processes -----------------------------------------------------------------------------------


async def test_child_that_ends_while_starting_is_an_error_with_its_log(run: RunDir) -> None:
    command = python("broken", "import sys; sys.exit('no good reason')")
    with pytest.raises(PartExited) as failure:
        async with running(command, logs=run.logs) as child:
            await child.first_line(deadline_s=DEADLINE_S)
    assert failure.value.exit_code == 1
    assert "no good reason" in failure.value.log.read_text()


async def test_child_that_never_becomes_ready_is_given_up_and_ended(run: RunDir) -> None:
    with pytest.raises(PartNotReady):
        async with running(python("mute", "import time; time.sleep(60)"), logs=run.logs) as child:
            await child.first_line(deadline_s=0.3)
    assert not lives(child.pid)


async def test_child_that_ignores_sigterm_is_killed_after_its_grace(run: RunDir) -> None:
    code = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready", flush=True)
        time.sleep(60)
    """
    child = await start(python("stubborn", code), logs=run.logs)
    await child.first_line(deadline_s=DEADLINE_S)
    await child.aclose(grace_s=0.2)
    assert await child.wait() == -signal.SIGKILL


async def test_child_may_end_by_itself_within_its_grace(run: RunDir) -> None:
    code = """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        print("ready", flush=True)
        time.sleep(60)
    """
    child = await start(python("polite", code), logs=run.logs)
    await child.first_line(deadline_s=DEADLINE_S)
    await child.aclose()
    await child.aclose()
    assert await child.wait() == 7


async def test_grandchildren_end_with_the_child(run: RunDir) -> None:
    code = """
        import subprocess, sys, time
        other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(other.pid, flush=True)
        time.sleep(60)
    """
    async with running(python("family", code), logs=run.logs) as child:
        grandchild = int(await child.first_line(deadline_s=DEADLINE_S))
        assert lives(grandchild)
    wait_until(lambda: not lives(grandchild))


async def test_cancelling_the_owner_ends_the_child(run: RunDir) -> None:
    begun: asyncio.Future[ChildProcess] = asyncio.get_running_loop().create_future()

    async def own() -> None:
        async with running(python("held", "import time; time.sleep(60)"), logs=run.logs) as child:
            begun.set_result(child)
            await child.wait()

    task = asyncio.create_task(own())
    child = await begun
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not lives(child.pid)


async def test_missing_program_is_named(run: RunDir) -> None:
    with pytest.raises(ToolUnavailable, match="ghost: no program at /no/such"):
        await start(Command(name="ghost", program="/no/such"), logs=run.logs)


@linux
def test_parts_die_with_an_owner_that_is_killed() -> None:
    owner = owner_that_holds("""
        import asyncio, json
        from fleet.local.redis import RedisServer
        from fleet.local.run_dir import run_dir

        async def main():
            with run_dir() as run:
                async with RedisServer(run) as server:
                    print(json.dumps([server._child.pid, str(run.path)]), flush=True)
                    await asyncio.Event().wait()

        asyncio.run(main())
    """)
    assert owner.stdout is not None
    with owner:
        pid, folder = json.loads(owner.stdout.readline())
        assert lives(pid)
        owner.kill()
    wait_until(lambda: not lives(pid))
    assert Path(folder).exists()  # nobody was left to remove it: the next run does
    remove_dead()
    assert not Path(folder).exists()


# --- LiveKit -------------------------------------------------------------------------------------


async def rooms(access: LiveKitAccess) -> list[str]:
    async with api.LiveKitAPI(access.url, access.api_key, access.api_secret) as client:
        listed = await client.room.list_rooms(api.ListRoomsRequest())
    return [room.name for room in listed.rooms]


async def test_livekit_answers_its_own_key_alone(livekit_server: LiveKitAccess) -> None:
    assert isinstance(await rooms(livekit_server), list)
    stranger = LiveKitAccess(url=livekit_server.url, api_key="local", api_secret="x" * 43)
    with pytest.raises(api.TwirpError):
        await rooms(stranger)


async def test_livekit_keeps_its_secret_out_of_sight(run: RunDir) -> None:
    async with LiveKitServer(run) as server:
        assert server._child is not None
        command_line = Path(f"/proc/{server._child.pid}/cmdline").read_text()
        config = run.path / "livekit.json"
        assert server.access.api_secret in config.read_text()
        assert config.stat().st_mode & 0o077 == 0
        assert server.access.api_secret not in command_line
        assert server.access.api_secret not in repr(server.access)


async def test_livekit_comes_back_at_the_same_address_after_a_crash(run: RunDir) -> None:
    async with LiveKitServer(run) as server:
        before = server.access
        await server.kill()
        with pytest.raises(aiohttp.ClientError):
            await rooms(before)
        await server.start()
        assert server.access == before
        assert await rooms(before) == []


async def test_livekit_takes_other_ports_when_the_first_are_taken(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        offers = [[taken, *free_ports(2)], free_ports(3)]
        monkeypatch.setattr(server_module, "free_ports", lambda _count: offers.pop(0))
        async with LiveKitServer(run) as server:
            assert urlsplit(server.access.url).port != taken
    assert offers == []


async def test_livekit_posts_webhooks_to_where_it_was_told(run: RunDir) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hook(request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        event = receiver.receive(body, request.headers["Authorization"])
        await heard.put(event.event)
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hook)
    runner = web.AppRunner(app)
    await runner.setup()
    [port] = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    server = LiveKitServer(run, webhook_urls=[f"http://127.0.0.1:{port}/hook"])
    try:
        async with server:
            access = server.access
            verifier = api.TokenVerifier(access.api_key, access.api_secret)
            receiver = api.WebhookReceiver(verifier)
            async with api.LiveKitAPI(access.url, access.api_key, access.api_secret) as client:
                await client.room.create_room(api.CreateRoomRequest(name="hooked"))
            async with asyncio.timeout(DEADLINE_S):
                assert await heard.get() == "room_started"
    finally:
        await runner.cleanup()


async def test_livekit_of_the_environment_is_used_instead_of_a_new_one(
    run: RunDir, livekit_server: LiveKitAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEKIT_URL", livekit_server.url)
    monkeypatch.setenv("LIVEKIT_API_KEY", livekit_server.api_key)
    monkeypatch.setenv("LIVEKIT_API_SECRET", livekit_server.api_secret)
    async with livekit(run) as access:
        assert access == livekit_server
    assert list(run.logs.iterdir()) == []
    assert isinstance(await rooms(livekit_server), list)  # it is not ours to end


# --- Redis ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", list(Transport))
async def test_redis_keeps_what_it_acknowledged_through_a_crash(
    run: RunDir, transport: Transport
) -> None:
    async with RedisServer(run, fsync=Fsync.ALWAYS, transport=transport) as server:
        before = server.url
        async with Redis.from_url(server.url) as client:
            await client.set("spent", 7)
        await server.kill()
        await server.start()
        assert server.url == before
        async with Redis.from_url(server.url) as client:
            assert await client.get("spent") == b"7"
            assert (await client.config_get("appendfsync"))["appendfsync"] == "always"


async def test_redis_refuses_who_has_no_password(run: RunDir) -> None:
    async with RedisServer(run, transport=Transport.TCP) as server:
        port = urlsplit(server.url).port
        async with Redis.from_url(f"redis://127.0.0.1:{port}") as client:
            with pytest.raises(AuthenticationError):
                await client.ping()


async def test_two_redis_servers_of_one_run_are_apart(run: RunDir) -> None:
    async with RedisServer(run, name="ledger") as ledger, RedisServer(run, name="other") as other:
        async with Redis.from_url(ledger.url) as client:
            await client.set("key", 1)
        async with Redis.from_url(other.url) as client:
            assert await client.get("key") is None


async def test_redis_data_outlives_the_run_in_a_folder_of_the_callers(
    run: RunDir, tmp_path: Path
) -> None:
    for expected in (1, 2):
        async with (
            redis(run, fsync=Fsync.ALWAYS, data_dir=tmp_path) as url,
            Redis.from_url(url) as client,
        ):
            assert await client.incr("starts") == expected


async def test_redis_fixture_is_empty(redis_server: str) -> None:
    async with Redis.from_url(redis_server) as client:
        assert await client.dbsize() == 0
        await client.set("left", "over")


async def test_redis_fixture_is_empty_again(redis_server: str) -> None:
    await test_redis_fixture_is_empty(redis_server)


# --- simulators ----------------------------------------------------------------------------------


async def accepts(url: str, ca_cert: Path | None) -> bool:
    address = urlsplit(url)
    context = ssl.create_default_context(cafile=str(ca_cert)) if ca_cert else None
    _, writer = await asyncio.open_connection(address.hostname, address.port, ssl=context)
    writer.close()
    await writer.wait_closed()
    return True


async def test_openai_simulator_is_where_it_says(openai_simulator: Simulator) -> None:
    assert await accepts(openai_simulator.base_url, None)
    assert await accepts(openai_simulator.control_url, None)


async def test_gemini_simulator_is_where_it_says_under_its_certificate(
    gemini_simulator: Simulator,
) -> None:
    assert gemini_simulator.ca_cert is not None
    assert await accepts(gemini_simulator.base_url, gemini_simulator.ca_cert)
    assert await accepts(gemini_simulator.control_url, None)


async def test_simulator_that_does_not_know_an_option_is_an_error(run: RunDir) -> None:
    with pytest.raises(PartExited):
        async with simulator(run, SimulatorKind.GEMINI, ["--no-such-option"]):
            pass
    assert "no-such-option" in (run.logs / "simulator-gemini.log").read_text()


# --- Ray -----------------------------------------------------------------------------------------

HOLD_RAY = """
    import json, os, signal, sys
    from fleet.local.ray_cluster import RaySettings, local_ray
    from fleet.local.run_dir import run_dir

    def mine(*_):
        pass

    signal.signal(signal.SIGTERM, mine)
    with run_dir() as run, local_ray(run, RaySettings(num_cpus=2)):
        import ray

        @ray.remote(num_cpus=0.1)
        class Actor:
            def niceness(self):
                return os.nice(0)

        actor = Actor.remote()
        told = {
            "folder": str(run.path),
            "niceness": ray.get(actor.niceness.remote()),
            "sigterm_kept": signal.getsignal(signal.SIGTERM) is mine,
        }
        print(json.dumps(told), flush=True)
        sys.stdin.readline()
"""


@pytest.mark.parametrize("end", ["orderly", pytest.param("killed", marks=linux)])
def test_ray_leaves_no_process_behind(end: str) -> None:
    owner = owner_that_holds(HOLD_RAY)
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner:
        told = json.loads(owner.stdout.readline())
        folder = Path(told["folder"])
        lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in processes_of(folder)]
        assert len(lines) >= 3
        assert not [line for line in lines if "log_monitor" in line]
        if end == "killed":
            owner.kill()
        else:
            owner.stdin.write("\n")
            owner.stdin.close()
    assert told["niceness"] == 0
    assert told["sigterm_kept"]
    wait_until(lambda: not processes_of(folder))
    assert folder.exists() == (end == "killed")


async def test_ray_fixture_runs_actors(ray_cluster: RayCluster) -> None:
    import ray

    @ray.remote(num_cpus=0.1)
    class Adder:
        def add(self, left: int, right: int) -> int:
            return left + right

    adder = Adder.remote()
    assert await adder.add.remote(2, 3) == 5
    assert ray_cluster.own
    ray.kill(adder)
