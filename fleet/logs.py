"""Logs of the control plane: the same lines, with the same things left out, as an actor's."""

from __future__ import annotations

from agent_actor.logs import configure_logs, redact, session_logs

__all__ = ["configure_logs", "redact", "session_logs"]
