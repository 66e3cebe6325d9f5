"""What the supervisor adds to a session's trace: each attempt until its agent is in the room, and
the end. What is between is the actor's to tell, as children of its attempt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from agent_actor import span_names
from agent_actor.contract import ActorId
from agent_actor.span_names import Attributes
from agent_actor.telemetry import NO_TRACER, Span, Tracer
from fleet.attempts import AttemptEnd, Next, loss_cause
from fleet.parts import StartRequest

_NAMES = {
    Next.RETRY: span_names.ATTEMPT,
    Next.RECOVER: span_names.RECOVER,
    Next.MOVE: span_names.MOVE,
}


class RunTrace:
    """Of one session, from ``begin`` or ``begin_another`` to ``joined``, as often as it takes."""

    def __init__(self, tracer: Tracer, request: StartRequest) -> None:
        self._tracer = tracer
        self._request = request
        self._attempt = NO_TRACER.start(span_names.ATTEMPT)

    @property
    def traceparent(self) -> str | None:
        """Of the attempt under way, for its actor."""
        return self._attempt.traceparent

    def begin(self) -> None:
        self._attempt = self._start(span_names.ATTEMPT, {})

    def begin_another(self, step: Next, after: AttemptEnd) -> None:
        """Before its actor is sought: who is live waits for it."""
        self._attempt = self._start(_NAMES[step], {span_names.CAUSE: loss_cause(after)})

    def guard(self) -> AbstractContextManager[None]:
        """What is raised in the block ends the attempt's span."""
        return self._attempt.guard()

    def assigned(self, actor_id: ActorId, attempt: int) -> None:
        self._attempt.note({span_names.ACTOR_ID: actor_id, span_names.ATTEMPT_NUMBER: attempt})

    def joined(self) -> None:
        self._attempt.end()

    def failed(self, code: str) -> None:
        """Of one that has not joined; of one that has it is not the attempt's any more."""
        self._attempt.end(code)

    @contextmanager
    def ending(self, end: AttemptEnd, attempt: int) -> Iterator[Span]:
        attributes = {
            span_names.END_REASON: end.end_reason.value,
            span_names.ATTEMPT_NUMBER: attempt,
        }
        span = self._start(span_names.END, attributes)
        with span.guard():
            yield span
        span.end(end.error_code)

    def _start(self, name: str, attributes: Attributes) -> Span:
        request = self._request
        common = {
            span_names.SESSION_ID: request.session_id,
            span_names.STUDY_ID: request.study_id,
        }
        return self._tracer.start(
            name, parent=request.traceparent, attributes={**common, **attributes}
        )
