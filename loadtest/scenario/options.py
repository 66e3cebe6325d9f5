"""What a load tester may set beside Locust's own options: on the command line, in the
environment (LOADTEST_…) and in the web UI's form.

Locust's own that matter here: `-H` the fleet, `-u` users, `-r` users a second, `-t` when it stops.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.scenario.contract import Pace
from loadtest.scenario.errors import BadOptions
from loadtest.scenario.fates import Mix, Span
from loadtest.scenario.shapes import Course, Shape

LOOPBACK = "http://127.0.0.1:8000"
DEFAULTS: Mapping[str, Any] = {"host": LOOPBACK, "run_time": "10m", "stop_timeout": "60"}
"""Of Locust's own options: loopback unless another fleet is named, and always an end."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """`sessions` None: as many as there is time for."""

    course: Course
    mix: Mix
    pace: Pace
    seed: int
    study: str
    sessions: int | None
    first: int
    rate: float
    workers: int
    poll_s: float
    outcomes_file: Path | None
    events_file: Path | None
    a_process: int
    """Participants in one child process."""


def add_arguments(parser: Any) -> None:
    """`parser`: Locust's."""

    # Not in a group: Locust shows only the parser's own in its web form.
    def add(name: str, default: Any, about: str, **more: Any) -> None:
        variable = f"LOADTEST_{name.upper().replace('-', '_')}"
        kind = more.pop("type", type(default))
        parser.add_argument(
            f"--{name}", default=default, type=kind, env_var=variable, help=about, **more
        )

    add("shape", Shape.STEADY.value, "how users come", choices=[each.value for each in Shape])
    add("ramp-s", 60.0, "ramp, soak: how long it takes to reach all users")
    add("stairs", "", "stairs: numbers of users, 10,25,50; the last stays")
    add("stair-s", 120.0, "stairs: how long each is kept")
    add("seed", 7, "of everything that is drawn")
    add("study", f"load-{int(time.time()):x}", "the study that all sessions belong to")
    add("sessions", 0, "stop after so many; 0: go by the time")
    add("first", 0, "number of the first session, to take up a run again")
    add("arrivals", 0.0, "sessions a second, at random moments; 0: whenever a user is free")
    add("workers", 1, "worker processes that share them (distributed runs)")
    add("no-shows", Mix.no_show, "share of participants that never come")
    add("leave-early", Mix.leaves_early, "share that leaves in the middle")
    add("budget-bound", Mix.budget_bound, "share that runs into its budget")
    add("deleted", Mix.deleted, "share that the backend ends")
    add("gemini", Mix.gemini, "share of gemini_live; the rest is openai_realtime")
    add("interview-s", Pace.interview_s, "how long an interview is by its protocol")
    add("no-show-s", Pace.no_show_s, "how long the interviewer waits for its participant")
    add("speech-s", _text(Pace.speech_s), "length of a participant's turn, LOW-HIGH")
    add("thinks-s", _text(Pace.thinks_s), "how long it thinks before, LOW-HIGH")
    add("silence-ms", Pace.silence_ms, "after which the provider takes a turn for ended")
    add("always-on", 0, "1: rehearsed microphones are open between the words too")
    add("poll-s", 15.0, "how often a backend asks how its session goes")
    add("outcomes-file", "", "a JSON line for each session that ended", include_in_web_ui=False)
    add("events-file", "", "a JSON line for each of Locust's requests", include_in_web_ui=False)
    add("participants-a-process", 10, "real participants in one child process")
    parser.set_defaults(**DEFAULTS)


def options_of(parsed: Namespace) -> Options:
    """Raises BadOptions."""
    try:
        return Options(
            course=_course(parsed),
            mix=Mix(
                no_show=parsed.no_shows,
                leaves_early=parsed.leave_early,
                budget_bound=parsed.budget_bound,
                deleted=parsed.deleted,
                gemini=parsed.gemini,
            ),
            pace=Pace(
                interview_s=parsed.interview_s,
                no_show_s=parsed.no_show_s,
                silence_ms=parsed.silence_ms,
                speech_s=span(parsed.speech_s),
                thinks_s=span(parsed.thinks_s),
                always_on=bool(parsed.always_on),
            ),
            seed=parsed.seed,
            study=parsed.study,
            sessions=parsed.sessions or None,
            first=parsed.first,
            rate=parsed.arrivals,
            workers=parsed.workers,
            poll_s=parsed.poll_s,
            outcomes_file=_path(parsed.outcomes_file),
            events_file=_path(parsed.events_file),
            a_process=parsed.participants_a_process,
        )
    except ValueError as error:
        raise BadOptions(str(error)) from None


def span(text: str) -> Span:
    """ "2-4", or "3" for a single value. Raises ValueError."""
    low, _, high = text.partition("-")
    parsed = float(low), float(high or low)
    if not 0 < parsed[0] <= parsed[1]:
        raise ValueError(f"{text!r} is not LOW-HIGH")
    return parsed


def stairs_of(text: str) -> tuple[int, ...]:
    """Raises ValueError."""
    stairs = tuple(int(each) for each in text.split(",") if each.strip())
    if any(each < 0 for each in stairs):
        raise ValueError("--stairs: numbers of users, as 10,25,50")
    return stairs


def _course(parsed: Namespace) -> Course:
    if not parsed.run_time:
        raise BadOptions("-t: a load test needs a time at which it stops")
    return Course(
        shape=Shape(parsed.shape),
        users=parsed.num_users or 1,
        spawn_rate=parsed.spawn_rate or 1.0,
        run_s=float(parsed.run_time),
        ramp_s=parsed.ramp_s,
        stair_s=parsed.stair_s,
        stairs=stairs_of(parsed.stairs),
    )


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _text(given: Span) -> str:
    return f"{given[0]:g}-{given[1]:g}"
