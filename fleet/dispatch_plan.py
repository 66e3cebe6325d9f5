"""What a request comes to before anything is done about it: contract, record, metadata. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agent_actor.contract import Provider, SessionConfig, SessionId, dump_metadata
from agent_actor.errors import ContractInvalid, FieldProblem
from fleet.records import SessionRecord
from fleet.split import choose

ROOM_PREFIX = "interview-"
AGENT_IDENTITY = "interviewer"
"""The same for every attempt: the server puts the old agent out when its successor joins."""
OBSERVER_PREFIX = "observer-"


def own_room(session_id: str) -> str:
    """The room that is made for a session, where it is not sent into somebody else's."""
    return f"{ROOM_PREFIX}{session_id}"


def session_of_room(room: str) -> SessionId | None:
    """The reverse: whose room it is by its name; None: not one that is made for a session. That it
    carries such a name proves nothing: other fleets may use the same server."""
    session_id = room.removeprefix(ROOM_PREFIX)
    return SessionId(session_id) if session_id != room and session_id else None


def room_claim(room: str) -> str:
    """What the one session in somebody else's room has claimed."""
    return f"livekit-room:{room}"


@dataclass(frozen=True, kw_only=True)
class DispatchRequest:
    """``split`` is given instead of a chosen provider: the one in ``config`` is replaced."""

    config: SessionConfig
    split: Mapping[Provider, float] | None = None
    participant_name: str | None = None
    """Shown in the room; stands in the token and is not kept."""
    idempotency_key: str | None = None
    body_hash: str = ""
    respond_async: bool = False
    traceparent: str | None = None
    """The trace that the session is a part of (W3C Trace Context)."""
    session_id: SessionId | None = None
    """Under which it has been admitted; None: it gets a new one."""
    room: str | None = None
    """One that is there already and not ours; None: one is made for the session."""
    room_sid: str = ""
    """LiveKit's id of it. Another room by the same name, later, has another."""
    first_comer: bool = False
    """Whoever of the participants comes first is interviewed, whatever name the contract has."""

    @property
    def claim(self) -> str | None:
        """What no other session may have: an Idempotency-Key, or somebody else's room."""
        return self.idempotency_key if self.room is None else room_claim(self.room)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``metadata`` is the contract as it will stand in the room, or go with the assignment."""

    config: SessionConfig
    metadata: str = field(repr=False)
    record: SessionRecord


def make_plan(
    request: DispatchRequest,
    session_id: str,
    now: float,
    resolve_model: Callable[[SessionConfig], SessionConfig],
) -> Plan:
    """Raises ContractInvalid (a split without weights, a participant by a name of ours),
    ContractTooLarge, and whatever ``resolve_model`` has against the model.
    """
    _check_identity(request.config.participant_identity)
    settled = {
        "provider": _provider(request),
        "session_id": session_id,
        "created_at": datetime.fromtimestamp(now, UTC),
    }
    config = resolve_model(request.config.model_copy(update=settled))
    record = SessionRecord(
        session_id=session_id,
        study_id=config.study_id,
        participant_identity=config.participant_identity,
        room=request.room or own_room(session_id),
        provider=config.provider,
        model=config.model,
        language=config.language,
        limit_micro_usd=config.budget_limit_micro_usd,
        created_at=now,
        idempotency_key=request.claim,
        traceparent=request.traceparent,
        session_timeout_s=config.session_timeout_seconds,
        no_show_s=config.no_show_seconds,
        reconnect_grace_s=config.reconnect_grace_seconds,
        first_comer=request.first_comer,
    )
    return Plan(config=config, metadata=dump_metadata(config), record=record)


def _check_identity(identity: str) -> None:
    """Of two by one identity LiveKit puts the first out of the room."""
    if identity == AGENT_IDENTITY or identity.startswith((f"{AGENT_IDENTITY}-", OBSERVER_PREFIX)):
        problem = f"{identity!r} is kept for the fleet's own agents and observers"
        raise ContractInvalid([FieldProblem(field="participant_identity", problem=problem)])


def _provider(request: DispatchRequest) -> Provider:
    config = request.config
    if request.split is None:
        return config.provider
    return choose(
        request.split,
        study_id=config.study_id,
        participant_identity=config.participant_identity,
    )
