"""Every error of the control plane, with what an HTTP caller may be told about it.

    FleetError
    ├── SettingsInvalid            environment is wrong; names the variables
    ├── Unauthorized               no bearer key, or a wrong one
    ├── WebhookRejected            a LiveKit webhook whose signature does not fit
    ├── SessionNotFound
    ├── SessionExists              a second record for one session id
    ├── IdempotencyConflict        a known Idempotency-Key came with another body
    ├── CursorInvalid              a page cursor that this API did not give out
    ├── StateConflict              a step back in a session's life, or a word after its end
    ├── TooManyObservers           a session is observed by as many as it may be
    ├── RoomTaken                  a room that LiveKit names has a session already
    ├── NotBegun                   a session was held for LiveKit, which then did not assign it
    ├── JobConfigInvalid           a LiveKit job from which no contract can be had
    ├── FleetFull                  no slot now (retryable after ``retry_after_s``)
    ├── NodeNotFound               no node of that name, or several
    ├── FleetDraining              no new sessions here any more (retryable elsewhere)
    ├── DispatchFailed             a session could not be started; names the step
    │   └── DispatchTimeout        the step did not end within the deadline (retryable)
    ├── StoreUnavailable           Redis did not answer (retryable)
    │   ├── RegistryUnavailable
    │   └── JournalUnavailable
    ├── BudgetUnavailable          no allowance can be had: no session may start (retryable)
    ├── BudgetExhausted            study or fleet have nothing left for another session
    ├── ControlPlaneUnavailable    roster or supervisor did not answer (retryable)
    │   ├── ActorLost              an actor died before it answered; the call may have happened
    │   │   └── ActorMissing       there is no actor by that name
    │   └── NoAnswer               none within the deadline; the call may still happen
    └── LiveKitError
        ├── LiveKitUnavailable     no answer (retryable)
        └── LiveKitRefused         it answered no
            └── RoomNotFound

``code`` is stable and goes into problem documents, records and metrics; ``retryable`` says
whether the same request may succeed later; ``http_status`` is what the ingress answers.
Errors cross Ray actors, so each pickles.
"""

from __future__ import annotations

from typing import Any


class FleetError(Exception):
    """Base. ``str(error)`` is fit for an operator and holds no key and nobody's words."""

    code = "fleet_error"
    retryable = False
    http_status = 500
    retry_after_s: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only constructors do not survive Exception's default pickling.
        return (_rebuild, (type(self), self.__dict__.copy(), self.args))


def _rebuild(cls: type[FleetError], state: dict[str, Any], args: tuple[Any, ...]) -> FleetError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class SettingsInvalid(FleetError):
    """``problems`` maps the name of each environment variable to what is wrong with it."""

    code = "settings_invalid"

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {why}" for name, why in problems.items()))
        self.problems = problems


class Unauthorized(FleetError):
    code = "unauthorized"
    http_status = 401


class WebhookRejected(FleetError):
    code = "webhook_rejected"
    http_status = 401


class SessionNotFound(FleetError):
    code = "session_not_found"
    http_status = 404

    def __init__(self, session_id: str) -> None:
        super().__init__(f"no session {session_id}")
        self.session_id = session_id


class SessionExists(FleetError):
    code = "session_exists"
    http_status = 409

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id} exists already")
        self.session_id = session_id


class IdempotencyConflict(FleetError):
    """The key is known with another body. 409 and not the header draft's 422: that is what a body
    gets that is wrong by itself."""

    code = "idempotency_conflict"
    http_status = 409

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"this Idempotency-Key belongs to session {session_id}, made from another body"
        )
        self.session_id = session_id


class CursorInvalid(FleetError):
    code = "cursor_invalid"
    http_status = 400

    def __init__(self) -> None:
        super().__init__("not a cursor of this listing")


class StateConflict(FleetError):
    """The record stays as it is: ``state`` and ``attempt`` tell how it is."""

    code = "state_conflict"
    http_status = 409

    def __init__(self, *, session_id: str, state: str, attempt: int, wanted: str) -> None:
        super().__init__(f"session {session_id} is {state} (attempt {attempt}), refused: {wanted}")
        self.session_id = session_id
        self.state = state
        self.attempt = attempt
        self.wanted = wanted


class TooManyObservers(FleetError):
    """A place is free again when the token it was given for has expired."""

    code = "too_many_observers"
    http_status = 409

    def __init__(self, session_id: str, most: int) -> None:
        super().__init__(f"session {session_id} has {most} observers, and may not have more")
        self.session_id = session_id


class RoomTaken(FleetError):
    """``begun``: its session is at work, not only held for a job that may still go elsewhere."""

    code = "room_taken"
    http_status = 409

    def __init__(self, session_id: str, *, begun: bool) -> None:
        super().__init__(f"session {session_id} is in this room")
        self.session_id = session_id
        self.begun = begun
        self.retryable = not begun


class NotBegun(FleetError):
    code = "not_begun"

    def __init__(self, room: str) -> None:
        super().__init__(f"LiveKit assigned nothing for room {room}")
        self.room = room


class JobConfigInvalid(FleetError):
    """``source`` says where the contract was looked for: job metadata, room metadata, profile."""

    code = "job_config_invalid"
    http_status = 422

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{source}: {problem}")
        self.source = source
        self.problem = problem


class FleetFull(FleetError):
    code = "fleet_full"
    retryable = True
    http_status = 503

    def __init__(self, *, retry_after_s: float, estimated_wait_s: float | None = None) -> None:
        """``estimated_wait_s``: until a session would begin that could wait; None: not known."""
        super().__init__("every session slot is taken")
        self.retry_after_s = retry_after_s
        self.estimated_wait_s = estimated_wait_s


class NodeNotFound(FleetError):
    code = "node_not_found"
    http_status = 404

    def __init__(self, wanted: str, *, several: bool = False) -> None:
        why = "several nodes are called so" if several else "no node of this cluster"
        super().__init__(f"{wanted}: {why}")
        self.wanted = wanted


class FleetDraining(FleetError):
    code = "fleet_draining"
    retryable = True
    http_status = 503

    def __init__(self, *, retry_after_s: float | None = None) -> None:
        super().__init__("no new sessions are taken here any more")
        self.retry_after_s = retry_after_s


class DispatchFailed(FleetError):
    """``cause_code`` is the code of the error behind it; its retryability is passed on."""

    code = "dispatch_failed"
    http_status = 502

    def __init__(
        self,
        *,
        session_id: str,
        step: str,
        cause_code: str,
        reason: str,
        retryable: bool = False,
    ) -> None:
        super().__init__(f"session {session_id} failed at {step}: {reason}")
        self.session_id = session_id
        self.step = step
        self.cause_code = cause_code
        self.reason = reason
        self.retryable = retryable


class DispatchTimeout(DispatchFailed):
    code = "dispatch_timeout"
    http_status = 504

    def __init__(self, *, session_id: str, step: str, waited_s: float) -> None:
        super().__init__(
            session_id=session_id,
            step=step,
            cause_code=self.code,
            reason=f"no answer within {waited_s:g} s",
            retryable=True,
        )
        self.waited_s = waited_s


class StoreUnavailable(FleetError):
    """``operation`` names the call; what Redis said is the ``__cause__`` where it arose."""

    code = "store_unavailable"
    retryable = True
    http_status = 503
    what = "store"

    def __init__(self, operation: str, reason: str = "") -> None:
        super().__init__(f"{self.what} unavailable at {operation}" + (f": {reason}" * bool(reason)))
        self.operation = operation
        self.retry_after_s = 2.0


class RegistryUnavailable(StoreUnavailable):
    code = "registry_unavailable"
    what = "registry"


class JournalUnavailable(StoreUnavailable):
    code = "journal_unavailable"
    what = "journal"


class BudgetUnavailable(FleetError):
    code = "budget_unavailable"
    retryable = True
    http_status = 503

    def __init__(self, reason: str) -> None:
        super().__init__(f"no allowance can be had: {reason}")
        self.retry_after_s = 2.0


class BudgetExhausted(FleetError):
    """A limit stands in the way, not an outage: only an operator's higher one helps."""

    code = "budget_exhausted"
    http_status = 409

    def __init__(self, study_id: str) -> None:
        super().__init__(f"the limit of study {study_id} or of the fleet is used up")
        self.study_id = study_id


class ControlPlaneUnavailable(FleetError):
    code = "control_plane_unavailable"
    retryable = True
    http_status = 503

    def __init__(self, part: str, reason: str = "no answer") -> None:
        super().__init__(f"{part}: {reason}")
        self.part = part
        self.retry_after_s = 2.0


class ActorLost(ControlPlaneUnavailable):
    code = "actor_lost"


class ActorMissing(ActorLost):
    code = "actor_missing"

    def __init__(self, part: str) -> None:
        super().__init__(part, "no such actor")


class NoAnswer(ControlPlaneUnavailable):
    code = "actor_no_answer"

    def __init__(self, part: str, deadline_s: float) -> None:
        super().__init__(part, f"no answer within {deadline_s:g} s")
        self.deadline_s = deadline_s


class LiveKitError(FleetError):
    code = "livekit_error"
    http_status = 502

    def __init__(self, call: str, reason: str) -> None:
        super().__init__(f"LiveKit, {call}: {reason}")
        self.call = call
        self.reason = reason


class LiveKitUnavailable(LiveKitError):
    code = "livekit_unavailable"
    retryable = True
    http_status = 503
    retry_after_s = 2.0


class LiveKitRefused(LiveKitError):
    code = "livekit_refused"


class RoomNotFound(LiveKitRefused):
    code = "room_not_found"
    http_status = 404
