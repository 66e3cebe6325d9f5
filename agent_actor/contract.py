"""The session contract: the JSON in a LiveKit room's metadata, and the words around it.

A contract, not a connection: a backend in any language can write it, a restarted agent reads
it again, an admin sees it in LiveKit's dashboard. Everyone in the room can read it, the
participant too, so nothing secret is ever put here.

Two ways to read it:

* ``parse_strict`` at the API: an unknown key anywhere is an error that names the field.
* ``parse_tolerant`` in the agent: unknown keys are ignored, so that an older agent can serve a
  newer backend.
"""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, NewType, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

# Exported from here too: what a request for a session can meet belongs to its words.
from agent_actor.errors import AgentError as AgentError
from agent_actor.errors import ContractInvalid as ContractInvalid
from agent_actor.errors import ContractTooLarge as ContractTooLarge
from agent_actor.errors import FieldProblem as FieldProblem

SessionId = NewType("SessionId", str)
StudyId = NewType("StudyId", str)
ActorId = NewType("ActorId", str)

MAX_METADATA_BYTES = 64 * 1024
"""Largest contract we accept. The LiveKit server itself would take 500 KB."""


class Provider(StrEnum):
    OPENAI_REALTIME = "openai_realtime"
    GEMINI_LIVE = "gemini_live"


class SessionState(StrEnum):
    """Where a session is in its life. ``gone`` is final and comes with an EndReason."""

    QUEUED = "queued"
    ASSIGNED = "assigned"
    JOINED = "joined"
    CONFIGURED = "configured"
    LIVE = "live"
    ENDING = "ending"
    GONE = "gone"


class EndReason(StrEnum):
    COMPLETED = "completed"
    BUDGET_EXCEEDED = "budget_exceeded"
    NO_SHOW = "no_show"
    PARTICIPANT_LEFT = "participant_left"
    SESSION_TIMEOUT = "session_timeout"
    METADATA_TIMEOUT = "metadata_timeout"
    PROVIDER_FAILED = "provider_failed"
    OPERATOR = "operator"
    DRAINED = "drained"
    ACTOR_LOST = "actor_lost"
    ROOM_FAILED = "room_failed"
    """LiveKit was not reachable, refused the token, or dropped the agent for good."""


class Language(StrEnum):
    """Languages the participant's page speaks; the interviewer may speak any."""

    EN = "en"
    DE = "de"
    FR = "fr"
    ES = "es"
    JA = "ja"
    KO = "ko"


Identifier = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")
]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class VadConfig(_Model):
    """When the provider's turn detection takes a silence for the end of a turn.

    Each provider maps what it can; the session's record lists what it could not.
    """

    threshold: float = Field(default=0.5, ge=0.0, le=1.0, allow_inf_nan=False)
    silence_duration_ms: int = Field(default=500, ge=100, le=60_000)
    prefix_padding_ms: int = Field(default=300, ge=0, le=5_000)


class Phase(_Model):
    """One part of the protocol. ``duration_seconds`` is a limit, not a plan."""

    id: Identifier
    name: str = Field(min_length=1, max_length=200)
    duration_seconds: float = Field(gt=0, le=24 * 3600, allow_inf_nan=False)
    prompt_suffix: str = Field(default="", max_length=16_000)


class Rehearsal(_Model):
    """A scripted participant in place of a real one, for load tests: see
    ``agent_actor.memory_transport``. Refused by a fleet that is not set to rehearse.

    Seconds are of the script; ``speed`` times as many of them pass in a second, those of coming
    and leaving apart.
    """

    seed: int = Field(default=1, ge=0, le=2**32)
    speed: float = Field(default=1.0, gt=0, le=50, allow_inf_nan=False)
    arrives_after_s: float | None = Field(default=0.5, ge=0, le=3600, allow_inf_nan=False)
    """None: never."""
    leaves_after_s: float | None = Field(default=None, gt=0, le=24 * 3600, allow_inf_nan=False)
    returns_after_s: float | None = Field(default=None, ge=0, le=3600, allow_inf_nan=False)
    speech_s: tuple[float, float] = (1.5, 4.0)
    """How long a turn is, at least and at most."""
    thinks_s: tuple[float, float] = (0.3, 1.5)
    patience_s: float = Field(default=15.0, gt=0, le=600, allow_inf_nan=False)
    """After so long without a word from the interviewer it speaks by itself. Real seconds."""
    interrupts: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    """The share of the interviewer's turns that it speaks into."""
    always_on: bool = False
    """Its microphone is open between its turns too: silence flows then."""

    @model_validator(mode="after")
    def _check_spans(self) -> Self:
        for name in ("speech_s", "thinks_s"):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= 3600:
                raise ValueError(f"rehearsal: {name} must be two numbers, the lower first")
        return self


class Fallback(_Model):
    """The provider that takes over when the first one fails. ``voice``: one of its own."""

    provider: Provider
    model: str | None = Field(default=None, min_length=1, max_length=200)
    voice: str | None = Field(default=None, min_length=1, max_length=100)


class SessionConfig(_Model):
    """What one interview needs to know, as it stands in the room's metadata."""

    provider: Provider
    model: str | None = Field(default=None, min_length=1, max_length=200)
    voice: str | None = Field(default=None, min_length=1, max_length=100)
    instructions: str = Field(min_length=1, max_length=32_000)
    vad_config: VadConfig = VadConfig()
    phases: tuple[Phase, ...] = Field(min_length=1, max_length=100)
    budget_limit_usd: float = Field(default=10.0, gt=0, le=10_000, allow_inf_nan=False)
    session_timeout_seconds: float = Field(default=3600, gt=0, le=24 * 3600, allow_inf_nan=False)
    created_at: AwareDatetime | None = None

    # Additions to the researchers' keys: all optional, all with defaults.
    session_id: Identifier | None = None
    study_id: Identifier = "default"
    participant_identity: Identifier = "participant"
    language: Language = Language.EN
    no_show_seconds: float = Field(default=60, gt=0, le=3600, allow_inf_nan=False)
    reconnect_grace_seconds: float = Field(default=30, ge=0, le=600, allow_inf_nan=False)
    transcribe: bool = True
    fallback: Fallback | None = None
    rehearsal: Rehearsal | None = None

    @model_validator(mode="after")
    def _check_phases(self) -> Self:
        ids = [phase.id for phase in self.phases]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"phases: ids must be unique, used more than once: {', '.join(twice)}")
        total = sum(phase.duration_seconds for phase in self.phases)
        if total > self.session_timeout_seconds:
            raise ValueError(
                f"phases: their duration_seconds add up to {total:g} s, longer than "
                f"session_timeout_seconds = {self.session_timeout_seconds:g}"
            )
        return self

    @model_validator(mode="after")
    def _check_fallback(self) -> Self:
        other = self.fallback
        if other and (other.provider, other.model) == (self.provider, self.model):
            raise ValueError("fallback: must be another provider, or another model of this one")
        return self

    def fallen_over(self) -> SessionConfig:
        """The same session with its fallback, and none after that. Unchanged where it has none."""
        other = self.fallback
        if other is None:
            return self
        changes = {"provider": other.provider, "model": other.model, "voice": other.voice}
        return self.model_copy(update={**changes, "fallback": None})

    @property
    def budget_limit_micro_usd(self) -> int:
        """The limit in integer micro-dollars: what all accounting uses."""
        return round(self.budget_limit_usd * 1_000_000)


def parse_strict(data: dict[str, Any]) -> SessionConfig:
    """Read a contract at the API. Raises ContractInvalid naming every bad field.

    As strict about types as the exported JSON Schema: "3600" and true are no numbers.
    """
    try:
        return SessionConfig.model_validate_json(json.dumps(data), strict=True, extra="forbid")
    except ValidationError as error:
        raise ContractInvalid(problems_of(error)) from None


def parse_tolerant(raw: str | bytes) -> SessionConfig:
    """Read room metadata in the agent: unknown keys are ignored.

    Raises ContractTooLarge, or ContractInvalid (empty, not JSON, half-written, wrong types).
    """
    # Half of a surrogate pair is no JSON text either, but that is to be said like the rest.
    size = len(raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw)
    if size > MAX_METADATA_BYTES:
        raise ContractTooLarge(size_bytes=size, limit_bytes=MAX_METADATA_BYTES)
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ContractInvalid([FieldProblem(field="", problem=f"not JSON: {error}")]) from None
    if not isinstance(data, dict):
        raise ContractInvalid([FieldProblem(field="", problem="must be a JSON object")])
    try:
        return SessionConfig.model_validate(data, extra="ignore")
    except ValidationError as error:
        raise ContractInvalid(problems_of(error)) from None


def dump_metadata(config: SessionConfig) -> str:
    """The JSON to write into the room. Raises ContractTooLarge."""
    fields = config.model_dump(mode="json", exclude_none=True)
    if config.rehearsal is not None:
        # A null says something there: its participant never comes.
        fields["rehearsal"] = config.rehearsal.model_dump(mode="json")
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise ContractTooLarge(size_bytes=len(text.encode()), limit_bytes=MAX_METADATA_BYTES)
    return text


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the contract for other languages; unknown keys are refused."""
    schema = SessionConfig.model_json_schema(mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Interview session contract"
    for part in (schema, *schema.get("$defs", {}).values()):
        if part.get("type") == "object":
            part["additionalProperties"] = False
    return schema


def problems_of(error: ValidationError) -> list[FieldProblem]:
    """A pydantic error as (dotted field, message) pairs, for problem documents and logs."""
    found = error.errors(include_url=False, include_input=False)
    return [
        _problem(".".join(str(p) for p in e["loc"]), e["msg"].removeprefix("Value error, "))
        for e in found
        # Items that were refused are missing then: the list is not too short, they are wrong.
        if e["type"] != "too_short" or not any(_is_inside(o["loc"], e["loc"]) for o in found)
    ]


def _is_inside(inner: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _problem(field: str, message: str) -> FieldProblem:
    # A check over the whole contract has no location; it names its field first, "phases: …".
    name, colon, rest = message.partition(": ")
    if not field and colon and name in SessionConfig.model_fields:
        return FieldProblem(field=name, problem=rest)
    return FieldProblem(field=field, problem=message)


def utc_iso(at: datetime) -> str:
    """One timestamp format everywhere: RFC 3339 in UTC with milliseconds."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
