"""A session's spans, written as its journal is. All are children of the attempt that the supervisor
began; what they have in common is the session's id."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from agent_actor import span_names as names
from agent_actor.answers import Answer
from agent_actor.contract import Provider
from agent_actor.journal import EventKind
from agent_actor.messages import Assignment, to_micro_usd
from agent_actor.span_names import Value
from agent_actor.telemetry import Tracer
from agent_actor.timeline import Stretch, Timeline

_CONVENTIONS: Mapping[str, tuple[str, str]] = {
    Provider.OPENAI_REALTIME: ("openai", "chat"),
    Provider.GEMINI_LIVE: ("gcp.gemini", "generate_content"),
}
"""The provider's name and the operation's, as the semantic conventions have them."""


class SessionTrace:
    """``saw`` takes the journal's entries, ``answered`` the responses, ``close`` the end; none
    waits for anything."""

    def __init__(
        self, tracer: Tracer, assignment: Assignment, now: Callable[[], float] = time.time
    ) -> None:
        self._tracer = tracer
        self._parent = assignment.traceparent
        self._session_id = assignment.session_id
        self._common: dict[str, Value] = {
            names.SESSION_ID: assignment.session_id,
            names.ATTEMPT_NUMBER: assignment.attempt,
        }
        self._now = now
        self._timeline = Timeline(now())

    def saw(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        for stretch in self._timeline.feed(kind, data, self._now()):
            self._write(stretch)

    def answered(self, answer: Answer, provider: Provider, model: str) -> None:
        """``model``: the one that is billed."""
        system, operation = _CONVENTIONS[provider]
        attributes: dict[str, Value] = {
            **self._common,
            names.GEN_AI_OPERATION: operation,
            names.GEN_AI_PROVIDER: system,
            names.GEN_AI_REQUEST_MODEL: model,
            names.GEN_AI_OUTPUT_TYPE: "speech",
            names.GEN_AI_CONVERSATION: self._session_id,
            **_described(answer),
        }
        if self._timeline.phase_id is not None:
            attributes[names.PHASE_ID] = self._timeline.phase_id
        failed = answer.status if answer.status in ("failed", "lost") else None
        self._tracer.write(
            f"{operation} {model}",
            parent=self._parent,
            began_at=answer.began_at,
            ended_at=answer.ended_at,
            attributes=attributes,
            error=failed,
            calls=True,
        )

    def close(self, *, reason: str | None, error: str | None) -> None:
        for stretch in self._timeline.close(self._now(), reason=reason, error=error):
            self._write(stretch)

    def _write(self, stretch: Stretch) -> None:
        self._tracer.write(
            stretch.name,
            parent=self._parent,
            began_at=stretch.began_at,
            ended_at=stretch.ended_at,
            attributes={**self._common, **stretch.attributes},
            error=stretch.error,
        )


def _described(answer: Answer) -> dict[str, Value]:
    tokens = answer.tokens
    said: dict[str, Value | None] = {
        names.GEN_AI_RESPONSE_ID: answer.id,
        names.GEN_AI_FINISH_REASONS: (answer.status,),
        names.GEN_AI_INPUT_TOKENS: tokens.input_total,
        names.GEN_AI_CACHED_TOKENS: tokens.cached_text + tokens.cached_audio,
        names.GEN_AI_OUTPUT_TOKENS: tokens.output_total,
        names.COST_MICRO_USD: to_micro_usd(answer.spent_pico_usd),
        names.PRICED: answer.priced,
        names.RESPONSE_CANCELLED: answer.cancelled,
        names.GEN_AI_FIRST_CHUNK_S: _rounded(answer.first_audio_s),
        names.TURN_SILENCE_S: _rounded(answer.silence_s),
    }
    return {name: value for name, value in said.items() if value is not None}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
