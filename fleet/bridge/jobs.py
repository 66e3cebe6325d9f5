"""Which job is where, by its id. Pure.

    offered ──held──▶ held ──assigned──▶ running ──▶ over
       │ declined       │ not assigned
       ▼                ▼
      over             over

The server may repeat itself, be late, or come with what nobody has heard of: each question below
has an answer in every state, and an answer once given is given again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from enum import StrEnum

from fleet.bridge.protocol import Answer, JobOffer

MOST_OVER = 4096
"""Of the jobs that are over, so many are remembered: a message may still come for one."""


class JobState(StrEnum):
    OFFERED = "offered"
    HELD = "held"
    RUNNING = "running"
    OVER = "over"


@dataclass(frozen=True, kw_only=True)
class Job:
    offer: JobOffer
    state: JobState
    answer: Answer | None = None
    """What the server was told; None while it is being decided."""


class JobBook:
    """All jobs of one bridge. Each method says what is to be done about what has just happened."""

    def __init__(self, most_over: int = MOST_OVER) -> None:
        self._jobs: dict[str, Job] = {}
        self._over: OrderedDict[str, Job] = OrderedDict()
        self._most_over = most_over

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id) or self._over.get(job_id)

    def in_state(self, state: JobState) -> tuple[Job, ...]:
        """In the order they came in."""
        return tuple(job for job in self._jobs.values() if job.state is state)

    def offered(self, offer: JobOffer) -> Job | None:
        """A job is offered. None: it is new and to be decided. Otherwise what there is of it: an
        ``answer`` to give again, or none, as it is being decided."""
        known = self.get(offer.job_id)
        if known is None:
            self._jobs[offer.job_id] = Job(offer=offer, state=JobState.OFFERED)
        return known

    def held(self, answer: Answer) -> bool:
        """There is a session for it. False: nobody waits for that any more."""
        return self._move(answer.job_id, {JobState.OFFERED}, JobState.HELD, answer)

    def declined(self, answer: Answer) -> bool:
        """It is not for us. False: that is no news."""
        return self._move(answer.job_id, {JobState.OFFERED}, JobState.OVER, answer)

    def assigned(self, job_id: str) -> bool:
        """Whether its session is to begin: only for one that is held, and once."""
        return self._move(job_id, {JobState.HELD}, JobState.RUNNING)

    def not_assigned(self, job_id: str) -> bool:
        """Whether its session is to be given up: what is assigned by then runs. Offered again it
        is declined, as the server has asked others since."""
        answer = Answer(job_id=job_id, available=False)
        return self._move(job_id, {JobState.HELD}, JobState.OVER, answer)

    def over(self, job_id: str) -> bool:
        """Its session has ended. False: that was known, or it never ran."""
        answer = Answer(job_id=job_id, available=False)
        return self._move(job_id, {JobState.RUNNING}, JobState.OVER, answer)

    def _move(
        self, job_id: str, here: set[JobState], there: JobState, answer: Answer | None = None
    ) -> bool:
        job = self._jobs.get(job_id)
        if job is None or job.state not in here:
            return False
        moved = replace(job, state=there, answer=answer or job.answer)
        if there is not JobState.OVER:
            self._jobs[job_id] = moved
            return True
        del self._jobs[job_id]
        self._over[job_id] = moved
        while len(self._over) > self._most_over:
            self._over.popitem(last=False)
        return True
