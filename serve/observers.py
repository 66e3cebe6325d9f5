"""Letting somebody watch a session: hear it, and see what it costs, unseen."""

from fastapi import APIRouter

from agent_actor.contract import SessionState
from fleet.errors import StateConflict
from serve.context import PortsDep, SessionIdPath, TasksDep
from serve.errors import ServeError, SessionOver, SessionStarting
from serve.models.observer import ObserverView
from serve.problems import responses

router = APIRouter(prefix="/v1/sessions/{session_id}", tags=["sessions"])


@router.post(
    "/observers",
    status_code=201,
    response_model=ObserverView,
    responses=responses(401, 404, 409, 422, 503),
)
async def add_observer(session_id: SessionIdPath, ports: PortsDep, tasks: TasksDep) -> ObserverView:
    """A token for one more observer: hidden from everybody in the room, it hears the interview,
    gets the messages of topic `cost`, and can send nothing. At most 16 at once. Asking again
    gives another observer.
    """
    record = await ports.sessions.get(session_id)
    try:
        given = await tasks.finish(ports.observers.admit(record), name="add_observer")
    except StateConflict as conflict:
        raise _refused(session_id, conflict) from conflict
    return ObserverView.of(session_id, given)


def _refused(session_id: str, conflict: StateConflict) -> ServeError:
    if conflict.state == SessionState.QUEUED:
        return SessionStarting(
            f"session {session_id} has no room yet: ask again when it has been started",
            headers={"Retry-After": "1"},
        )
    return SessionOver(f"session {session_id} has ended: there is nothing to observe any more")
