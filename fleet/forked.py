"""What a Ray worker of ours is started from: a fork of its node's fork server, docs/forkserver.md.

One server for session actors and control actors, so that it has imported for both: a control actor
that was lost is back in a fraction of the time that the imports take.
"""

from __future__ import annotations

from typing import Any

from agent_actor import forkserver
from agent_actor.priority import VARIABLE as WARM_NICE

SESSION_ACTOR = "agent_actor.actor"
_SHELL = "fleet.actor_shell"
_CONTROL = (
    # Each session is handed the budget actor's handle too, and unpickling one imports its class.
    "fleet.budget.actor",
    "fleet.roster_actor",
    "fleet.supervisor_actor",
    # A bridge is handed how to open a dispatcher.
    "fleet.control",
)


def worker_env(*, fork_server: bool, session_actor: str = SESSION_ACTOR) -> dict[str, Any]:
    """A runtime_env; empty without a fork server. ``session_actor``: the module of its class."""
    if not fork_server or not forkserver.available():
        return {}
    return {"py_executable": forkserver.command(preload=(_SHELL, session_actor, *_CONTROL))}


def control_env(*, fork_server: bool) -> dict[str, Any]:
    """The same for a control actor, which does not give way to live audio while it gets ready:
    interviews and callers wait for it."""
    env = worker_env(fork_server=fork_server)
    return {**env, "env_vars": {WARM_NICE: "0"}} if env else {}
