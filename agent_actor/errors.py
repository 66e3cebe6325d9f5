"""Every error of this package. ``retryable`` says whether another actor may succeed.

    AgentError
    ├── ContractError
    │   ├── ContractInvalid        metadata or request body is wrong; names the fields
    │   └── ContractTooLarge
    ├── MetadataTimeout            nothing usable in the room within the deadline (retryable)
    ├── RoomError
    │   ├── RoomUnreachable        LiveKit did not answer (retryable)
    │   └── RoomTokenRejected      wrong or expired token
    ├── ProviderError
    │   ├── ProviderRefused        bad key, no quota, unknown voice: trying again won't help
    │   ├── ProviderUnavailable    no answer, dropped, overloaded (retryable)
    │   ├── ProviderKeyMissing
    │   ├── ModelUnpriced          no rate: the session could not be held to its budget
    │   └── ModelRetired           known only to an interface that is gone; names a successor
    ├── RehearsalRefused           audio in memory, but a real provider
    └── ActorBusy                  a second assignment for an actor that has one

Errors cross Ray actors, so each pickles: the constructor's arguments are its state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class AgentError(Exception):
    """Base. ``code`` is stable and goes into problem documents, records and metrics."""

    code = "agent_error"
    retryable = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only constructors do not survive Exception's default pickling.
        return (_rebuild, (type(self), self.__dict__.copy(), self.args))


def _rebuild(cls: type[AgentError], state: dict[str, Any], args: tuple[Any, ...]) -> AgentError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


@dataclass(frozen=True, kw_only=True)
class FieldProblem:
    """What is wrong with one field. ``field`` is dotted ("phases.0.id"), "" for the whole."""

    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}" if self.field else self.problem


class ContractError(AgentError):
    code = "contract_error"


class ContractInvalid(ContractError):
    code = "contract_invalid"

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(str(p) for p in problems))
        self.problems = problems


class ContractTooLarge(ContractError):
    code = "contract_too_large"

    def __init__(self, *, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"session contract is {size_bytes} bytes, the limit is {limit_bytes}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class MetadataTimeout(AgentError):
    code = "metadata_timeout"
    retryable = True

    def __init__(self, *, waited_s: float, last_problem: str | None) -> None:
        why = f"; last seen: {last_problem}" if last_problem else "; the room had none"
        super().__init__(f"no usable room metadata after {waited_s:.1f} s{why}")
        self.waited_s = waited_s
        self.last_problem = last_problem


class RoomError(AgentError):
    code = "room_error"


class RoomUnreachable(RoomError):
    code = "room_unreachable"
    retryable = True


class RoomTokenRejected(RoomError):
    code = "room_token_rejected"


class ProviderError(AgentError):
    code = "provider_error"


class ProviderRefused(ProviderError):
    code = "provider_refused"


class ProviderUnavailable(ProviderError):
    code = "provider_unavailable"
    retryable = True


class ProviderKeyMissing(ProviderError):
    code = "provider_key_missing"


class ModelUnpriced(ProviderError):
    code = "model_unpriced"


class ModelRetired(ProviderError):
    code = "model_retired"


class RehearsalRefused(AgentError):
    code = "rehearsal_refused"


class CheckpointUnavailable(AgentError):
    """What an earlier actor of the session left cannot be read: another may be luckier."""

    code = "checkpoint_unavailable"
    retryable = True


class ActorBusy(AgentError):
    code = "actor_busy"
