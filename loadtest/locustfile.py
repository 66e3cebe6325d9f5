"""The load on a fleet: `locust -f loadtest/locustfile.py -H URL -u USERS -t TIME [Backend]`.

`Backend` asks for interviews whose participants the fleet plays itself (a fleet that is set to
rehearse: FLEET_TRANSPORT=memory): hundreds on a small machine. `Interview` brings a real
WebRTC participant to each. Name one of them; all options: `--help`, and docs/operations.md.
The API's key is read from FLEET_API_KEY.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, TextIO

from locust import LoadTestShape, events
from locust.env import Environment

from loadtest.scenario.backend import Desk, StudyBackend, WithParticipant
from loadtest.scenario.crowd import Crowd
from loadtest.scenario.errors import BadOptions
from loadtest.scenario.options import Options, add_arguments, options_of
from loadtest.scenario.outcomes import OutcomeFile
from loadtest.scenario.shapes import wanted

API_KEY = "FLEET_API_KEY"
key = os.environ.get(API_KEY)
HEADERS = {"Authorization": f"Bearer {key}"} if key else None


class Backend(StudyBackend):
    """A study's backend; the fleet plays the participants."""

    default_headers = HEADERS


class Interview(WithParticipant):
    """A study's backend and its participant, by WebRTC."""

    default_headers = HEADERS


class Course(LoadTestShape):
    """As `--shape` says, until `-t`, or until `--sessions` have ended."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        assert self.runner is not None
        options = _options(self.runner.environment)
        at_s = float(self.get_run_time())  # type: ignore[no-untyped-call]
        users = wanted(options.course, at_s)
        if users is None or (options.sessions and _ended(self.runner) >= options.sessions):
            return None
        return users.users, users.spawn_rate


def _options(environment: Environment) -> Options:
    assert environment.parsed_options is not None
    return options_of(environment.parsed_options)


def _ended(runner: Any) -> int:
    entries = runner.stats.entries.values()
    return sum(each.num_requests for each in entries if each.method == "interview")


@events.init_command_line_parser.add_listener
def _arguments(parser: Any, **_: Any) -> None:
    add_arguments(parser)


@events.init.add_listener
def _check(environment: Environment, **_: Any) -> None:
    try:
        _options(environment)
    except BadOptions as error:
        raise SystemExit(f"error: {error}") from None


@events.test_start.add_listener
def _open(environment: Environment, **_: Any) -> None:
    options = _options(environment)
    StudyBackend.desk = Desk(
        options=options,
        index=getattr(environment.runner, "worker_index", 0),
        outcomes=OutcomeFile(options.outcomes_file),
        crowd=Crowd(a_process=options.a_process),
    )


@events.test_stop.add_listener
def _close(environment: Environment, **_: Any) -> None:
    StudyBackend.desk.crowd.close()


class _EventFile:
    """A line for each request: epoch, type, name, milliseconds, and what failed."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def __call__(self, **event: Any) -> None:
        failure = event.get("exception")
        line = (
            round(time.time(), 3),
            event["request_type"],
            event["name"],
            round(event["response_time"] or 0.0, 2),
            None if failure is None else str(failure) or type(failure).__name__,
        )
        self._file.write(json.dumps(line) + "\n")


@events.init.add_listener
def _record(environment: Environment, **_: Any) -> None:
    path = _options(environment).events_file
    if path is not None:
        environment.events.request.add_listener(_EventFile(path))  # type: ignore[no-untyped-call]
