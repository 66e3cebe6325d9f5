"""python -m loadtest.participants: one participant, or `many` from orders on standard input.

Prints a JSON line for each event and a `summary` line at the end. Exit status: 0 the room was
ended, the script is finished, or a time limit or signal ended it; 2 bad arguments or script;
3 token refused; 4 server not reachable; 5 not let in; 6 connection lost; `many`: 1 if any failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtest.participants import process
from loadtest.participants.errors import ParticipantError
from loadtest.participants.many import Crowd, Lines, failure_line
from loadtest.participants.participant import ParticipantOptions, run_participant
from loadtest.participants.redact import log_to_stderr
from loadtest.participants.report import EventName, Outcome
from loadtest.participants.scripts import NAMED, load_script
from loadtest.participants.uplink import UplinkMode
from loadtest.participants.voice import SAMPLE_RATES

EXIT_LOST = 6
STOP_GRACE_S = 8.0
"""After a signal a participant leaves by itself within this; then it is cancelled."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    process.die_with_parent()
    log_to_stderr()
    if given[:1] == ["many"]:
        return _main_many(given[1:])
    return _main_one(given)


def write_line(content: Mapping[str, Any]) -> None:
    """One JSON line to standard output, seen by a reader at once."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


# -- one -------------------------------------------------------------------------------------------


def _main_one(given: list[str]) -> int:
    parser = _parser()
    options = parser.parse_args(given)
    try:
        participant = ParticipantOptions(
            url=options.url,
            token=_token(options, parser),
            script=load_script(options.script),
            seed=options.seed,
            max_s=options.max_s,
            uplink=UplinkMode(options.uplink),
            sample_rate=options.sample_rate,
            wav=options.wav,
            agent_identity=options.agent_identity,
            connect_deadline_s=options.connect_deadline_s,
            started_epoch_s=process.started_epoch_s(),
            t0_epoch_s=options.t0,
        )
        return _run(lambda stop: _one(participant, stop))
    except ParticipantError as error:
        write_line(failure_line(error))
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status


async def _one(options: ParticipantOptions, stop: asyncio.Event) -> int:
    summary = await run_participant(options, lambda event: write_line(event.as_json()), stop=stop)
    write_line({"event": EventName.SUMMARY.value, **summary.as_json()})
    return EXIT_LOST if summary.outcome is Outcome.CONNECTION_LOST else 0


def _token(options: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    if options.token_stdin:
        token = sys.stdin.readline().strip()
        source = "standard input"
    else:
        token = os.environ.get(options.token_env, "").strip()
        source = f"the environment variable {options.token_env}"
    if not token:
        parser.error(f"no token in {source}")
    return token


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.participants",
        description="A synthetic participant in a LiveKit room.",
        epilog="`many --stdin` runs many participants in one process from JSON lines.",
    )
    add = parser.add_argument
    add("--url", required=True, help="LiveKit server, ws:// or wss://")
    add("--script", default="cooperative", help=f"a JSON file or one of: {', '.join(NAMED)}")
    add("--seed", type=int, default=0)
    add("--max-s", type=float, help="leave after this long")
    add("--uplink", choices=list(UplinkMode), default=UplinkMode.CONTINUOUS.value)
    add("--sample-rate", type=int, choices=SAMPLE_RATES, default=48_000)
    add("--wav", type=Path, help="write what is heard to this file")
    add("--agent-identity", help="who counts as the agent (default: anyone else in the room)")
    add("--connect-deadline-s", type=float, default=10.0)
    add("--t0", type=float, metavar="EPOCH_S", help="another zero for the since_t0 measures")
    add("--token-env", default="LIVEKIT_TOKEN", help="variable that holds the token")
    add("--token-stdin", action="store_true", help="read the token from standard input")
    return parser


# -- many ------------------------------------------------------------------------------------------


def _main_many(given: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.participants many")
    parser.add_argument("--stdin", action="store_true", required=True, help="orders, JSON lines")
    parser.parse_args(given)
    return _run(_many)


async def _many(stop: asyncio.Event) -> int:
    crowd = Crowd(write_line)
    lines: Lines = asyncio.Queue()
    _read_stdin(lines)
    async with asyncio.TaskGroup() as tasks:
        stopping = tasks.create_task(_stop_crowd(crowd, lines, stop))
        await crowd.run(lines)
        stopping.cancel()
    return 1 if crowd.failures else 0


async def _stop_crowd(crowd: Crowd, lines: Lines, stop: asyncio.Event) -> None:
    await stop.wait()
    lines.put_nowait(None)
    crowd.stop()


def _read_stdin(lines: Lines) -> None:
    """Lines of standard input, from a daemon thread: it may be a file, which no loop can poll."""
    loop = asyncio.get_running_loop()

    def put(line: str | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(lines.put_nowait, line)

    def read() -> None:
        for line in sys.stdin:
            put(line)
        put(None)

    threading.Thread(target=read, name="orders", daemon=True).start()


# -- signals ---------------------------------------------------------------------------------------


def _run(work: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    try:
        return asyncio.run(_until_signalled(work))
    except asyncio.CancelledError:
        return 128 + signal.SIGINT


async def _until_signalled(work: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """`work`, told to stop by the first SIGTERM or SIGINT and cancelled by the second."""
    loop, stop, task = asyncio.get_running_loop(), asyncio.Event(), asyncio.current_task()
    assert task is not None

    def on_signal() -> None:
        if stop.is_set():
            task.cancel()
            return
        stop.set()
        loop.call_later(STOP_GRACE_S, task.cancel)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return await work(stop)
