"""GET /join/{session_id}/state: what a participant's page may know, asked with its LiveKit token.

The token proves who asks: signed with the fleet's LiveKit secret, for this session's room and this
participant. It stands in the link's fragment and comes here as a bearer, so no address in any log
holds it. What is answered is what the page shows, and nothing of provider, protocol or money.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from agent_actor.contract import EndReason, SessionState
from fleet.livekit_client import ParticipantPass
from fleet.records import SessionRecord
from serve.context import PortsDep, SessionIdPath
from serve.errors import LinkInvalid
from serve.models.join import JoinStage, JoinState, Outcome
from serve.problems import responses

router = APIRouter(prefix="/join", tags=["participant"])

_scheme = HTTPBearer(
    auto_error=False, scheme_name="ParticipantToken", description="The participant's LiveKit token."
)

OUTCOMES: Mapping[EndReason, Outcome] = {
    EndReason.COMPLETED: Outcome.COMPLETED,
    EndReason.SESSION_TIMEOUT: Outcome.TIME_UP,
    EndReason.BUDGET_EXCEEDED: Outcome.CLOSED,
    EndReason.OPERATOR: Outcome.CLOSED,
    EndReason.NO_SHOW: Outcome.NO_SHOW,
    EndReason.PARTICIPANT_LEFT: Outcome.LEFT,
    EndReason.METADATA_TIMEOUT: Outcome.INTERRUPTED,
    EndReason.PROVIDER_FAILED: Outcome.INTERRUPTED,
    EndReason.DRAINED: Outcome.INTERRUPTED,
    EndReason.ACTOR_LOST: Outcome.INTERRUPTED,
    EndReason.ROOM_FAILED: Outcome.INTERRUPTED,
}
"""What a participant is told: what it was for them, not what it was in the fleet."""

_STAGES: Mapping[SessionState, JoinStage] = {
    # No room yet: whoever came now would make one that has no contract.
    SessionState.QUEUED: JoinStage.STARTING,
    # The room is about to be closed: whoever came now would make a new one.
    SessionState.ENDING: JoinStage.ENDING,
    SessionState.GONE: JoinStage.OVER,
}


@router.get(
    "/{session_id}/state", response_model=JoinState, responses=responses(401, 404, 422, 503)
)
async def get_join_state(
    session_id: SessionIdPath,
    ports: PortsDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)],
) -> JoinState:
    """Where an interview is, for its participant's page. The bearer is the participant's own
    LiveKit token, no API key. One whose time is over still tells how the interview ended, but not
    where it takes place: it opens the room no more.
    """
    given = ports.passes.read_pass(credentials.credentials) if credentials else None
    if given is None:
        raise LinkInvalid
    record = await ports.sessions.get(session_id)
    if (given.room, given.identity) != (record.room, record.participant_identity):
        raise LinkInvalid
    return join_state(record, given, livekit_url=ports.livekit_url, now=ports.clock())


def join_state(
    record: SessionRecord, given: ParticipantPass, *, livekit_url: str, now: float
) -> JoinState:
    stage = _STAGES.get(record.state, JoinStage.OPEN)
    began = record.first_joined_at or record.joined_at
    until = now if record.ended_at is None else record.ended_at
    may_enter = stage is not JoinStage.OVER and not given.expired
    return JoinState(
        stage=stage,
        outcome=OUTCOMES[record.end_reason] if record.end_reason else None,
        language=record.language,
        livekit_url=livekit_url if may_enter else None,
        expired=given.expired,
        elapsed_s=None if began is None else round(max(0.0, until - began), 1),
        limit_s=record.session_timeout_s,
    )
