"""What a study's backend does, over HTTP: asks for a session, follows it, reads what it cost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import gevent
from locust import FastHttpUser, task
from locust.exception import StopUser
from locust.user.task import LOCUST_STATE_STOPPING

from loadtest.scenario.arrivals import Arrival, Share, arrivals
from loadtest.scenario.contract import (
    TIMEOUT_SLACK_S,
    body_of,
    identity_of,
    key_of,
    script_of,
)
from loadtest.scenario.crowd import Crowd
from loadtest.scenario.errors import (
    EndedOtherwise,
    NeverEnded,
    NotStarted,
    ScenarioError,
)
from loadtest.scenario.fates import Fate, Plan, draw
from loadtest.scenario.measures import measures_of
from loadtest.scenario.options import Options
from loadtest.scenario.outcomes import Outcome, OutcomeFile, of_record

SESSIONS = "/v1/sessions"
ASK_FOR_S = 180.0
"""How long a backend goes on asking for a session that cannot be had yet."""
ASK_AGAIN_S = 2.0
TIMEOUT_S = 60.0
COST_EVERY = 4
"""A backend reads the cost with every so many looks at the session."""
MAY_PASS = frozenset({0, 409, 425, 429, 500, 502, 503, 504})
"""Answers (0: none) after which the same request may succeed later."""


@dataclass(kw_only=True)
class Desk:
    """Of one Locust process: who hands out interviews and takes down what came of them."""

    options: Options
    index: int
    outcomes: OutcomeFile
    crowd: Crowd
    began_s: float = field(default_factory=time.monotonic)
    _arrivals: Iterator[Arrival] = field(init=False)

    def __post_init__(self) -> None:
        options = self.options
        self._arrivals = arrivals(
            seed=options.seed,
            rate=options.rate,
            first=options.first,
            limit=None if options.sessions is None else options.first + options.sessions,
            share=Share(index=self.index, of=options.workers),
        )

    def take(self) -> Plan:
        """The next interview, when it is due. Raises StopUser when there is none left."""
        arrival = next(self._arrivals, None)
        if arrival is None:
            raise StopUser
        gevent.sleep(max(0.0, self.began_s + arrival.due_s - time.monotonic()))
        return draw(self.options.mix, self.options.seed, arrival.number)


class StudyBackend(FastHttpUser):
    """One interview after the other, each followed to its end."""

    abstract = True
    network_timeout = TIMEOUT_S
    connection_timeout = TIMEOUT_S
    rehearsed = True
    """Whether the fleet plays the participant itself."""
    desk: Desk
    """The process's; set when the test starts."""

    def on_start(self) -> None:
        self._running: Interview | None = None

    @task
    def interview(self) -> None:
        plan = self.desk.take()
        if self.stopping:
            raise StopUser
        self._running = Interview(self, plan)
        self._running.hold()
        # Not in a `finally`: one that is cut short is on_stop's to end.
        self._running = None

    @property
    def stopping(self) -> bool:
        """The run is over: what is under way may end, nothing new is begun."""
        return bool(self._state == LOCUST_STATE_STOPPING)

    def on_stop(self) -> None:
        """The run is over, this interview was not."""
        if self._running is not None:
            self._running.cut_off()

    def expect(self, interview: Interview) -> None:
        """The session is about to be asked for. May raise a ScenarioError."""

    def joined(self, interview: Interview) -> None:
        """The interviewer is in the room. May raise a ScenarioError."""

    def left(self, interview: Interview) -> None:
        """The interview is over."""

    def tell(self, kind: str, name: str, ms: float, failure: Exception | None = None) -> None:
        """One of Locust's events: it counts in its statistics."""
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=ms,
            response_length=0,
            exception=failure,
            context={},
        )


class WithParticipant(StudyBackend):
    """The same, and its participant joins the room as a browser would."""

    abstract = True
    rehearsed = False

    def expect(self, interview: Interview) -> None:
        if interview.plan.fate is not Fate.NO_SHOW:
            self.desk.crowd.hold(identity_of(interview.plan))

    def joined(self, interview: Interview) -> None:
        plan, record = interview.plan, interview.record
        if plan.fate is Fate.NO_SHOW or not record.get("participant_token"):
            return
        head_start_s = 0.0

        def on_line(line: Mapping[str, Any]) -> None:
            nonlocal head_start_s
            if line["event"] == "started":
                head_start_s = time.time() - line["t_s"] - interview.asked_epoch_s
            for measure in measures_of(line, head_start_s=head_start_s):
                failure = ScenarioError(measure.failure) if measure.failure else None
                self.tell("WebRTC", measure.name, measure.ms, failure)

        self.desk.crowd.join(
            {
                "id": identity_of(plan),
                "url": record["livekit_url"],
                "token": record["participant_token"],
                "script": script_of(plan, self.desk.options.pace),
                "seed": plan.seed,
            },
            on_line,
        )

    def left(self, interview: Interview) -> None:
        self.desk.crowd.leave(identity_of(interview.plan))


class Interview:
    """One session, from asking for it to its end."""

    def __init__(self, backend: StudyBackend, plan: Plan) -> None:
        self.plan = plan
        self.asked_epoch_s = time.time()
        self.record: dict[str, Any] = {}
        self._backend = backend
        self._http = backend.client
        self._options = backend.desk.options
        self._asked_s = time.monotonic()
        self._dispatch_s: float | None = None
        self._asked = self._turned_away = 0

    def hold(self) -> None:
        problem: ScenarioError | None = None
        try:
            self._backend.expect(self)
            self.asked_epoch_s, self._asked_s = time.time(), time.monotonic()
            self._ask()
            self._backend.joined(self)
            self._follow()
        except ScenarioError as error:
            problem = error
        self._backend.left(self)
        cost = self._get("/cost") if self.record else {}
        outcome = self._outcome(cost, problem=problem)
        if problem is None and not outcome.as_meant:
            problem = EndedOtherwise(f"{outcome.end_reason}, not {outcome.meant}")
        took_ms = (time.monotonic() - self._asked_s) * 1000
        self._backend.tell("interview", self.plan.fate.value, took_ms, problem)
        self._backend.desk.outcomes.write(outcome)

    def cut_off(self) -> None:
        """End the session: the backend goes."""
        if self.record:
            self._delete()
        self._backend.left(self)
        self._backend.desk.outcomes.write(self._outcome({}, cut_off=True))

    # -- the start ---------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Until there is a session. The key makes that one, however often it is asked for."""
        plan, options = self.plan, self._options
        body = body_of(plan, options.pace, options.study, rehearsed=self._backend.rehearsed)
        headers = {"Idempotency-Key": key_of(options.study, plan)}
        while True:
            self._asked += 1
            with self._http.post(
                SESSIONS, json=body, headers=headers, name=SESSIONS, catch_response=True
            ) as answer:
                if answer.status_code in (200, 201, 202):
                    self.record = answer.json()
                    self._dispatch_s = time.monotonic() - self._asked_s
                    return
                code = _code_of(answer)
                if answer.status_code == 503:
                    # An answer like any other of a fleet that is full.
                    answer.request_meta["name"] = f"{SESSIONS} (turned away)"
                    self._turned_away += 1
                    answer.success()
                else:
                    answer.failure(code)
            waited_s = time.monotonic() - self._asked_s
            if answer.status_code not in MAY_PASS or waited_s > ASK_FOR_S:
                raise NotStarted(code)
            if self._backend.stopping:
                raise StopUser
            gevent.sleep(_retry_after_s(answer))

    # -- on its way --------------------------------------------------------------------------------

    def _follow(self) -> None:
        options, looks = self._options, 0
        deadline_s = time.monotonic() + options.pace.interview_s + 2 * TIMEOUT_SLACK_S
        delete_at_s = self._delete_at_s()
        while self.record.get("state") != "gone":
            wait_s = options.poll_s
            if delete_at_s is not None:
                wait_s = min(wait_s, max(0.0, delete_at_s - time.monotonic()))
            gevent.sleep(wait_s)
            if delete_at_s is not None and time.monotonic() >= delete_at_s:
                self._delete()
                delete_at_s = None
            self.record = self._get("") or self.record
            looks += 1
            if looks % COST_EVERY == 0:
                self._get("/cost")
            if time.monotonic() > deadline_s:
                raise NeverEnded(f"still {self.record.get('state')}")

    def _delete_at_s(self) -> float | None:
        if self.plan.fate is not Fate.DELETED:
            return None
        return time.monotonic() + self.plan.cut_at * self._options.pace.interview_s

    def _get(self, what: str) -> dict[str, Any]:
        """{} where it could not be had; Locust has counted that."""
        name = f"{SESSIONS}/{{id}}{what}"
        with self._http.get(self._path() + what, name=name, catch_response=True) as answer:
            found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
            _judge(answer)
        return found

    def _delete(self) -> None:
        name = f"{SESSIONS}/{{id}}"
        with self._http.delete(self._path(), name=name, catch_response=True) as answer:
            _judge(answer)

    def _path(self) -> str:
        return f"{SESSIONS}/{self.record['session_id']}"

    def _outcome(
        self,
        cost: Mapping[str, Any],
        *,
        problem: ScenarioError | None = None,
        cut_off: bool = False,
    ) -> Outcome:
        return of_record(
            self.plan,
            self.record,
            cost,
            cut_off=cut_off,
            identity=identity_of(self.plan),
            asked_epoch_s=self.asked_epoch_s,
            problem=None if problem is None else str(problem),
            dispatch_s=self._dispatch_s,
            asked=self._asked,
            turned_away=self._turned_away,
        )


def _judge(answer: Any) -> None:
    """By its code alone: with each session's own address Locust would count each failure as one of
    a kind."""
    if answer.status_code == 0 or answer.status_code >= 400:
        answer.failure(_code_of(answer))


def _retry_after_s(answer: Any) -> float:
    # Without an answer there are no headers.
    told = (answer.headers or {}).get("Retry-After")
    return float(told) if told else ASK_AGAIN_S


def _code_of(answer: Any) -> str:
    try:
        return str(answer.json()["code"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"status {answer.status_code}"
