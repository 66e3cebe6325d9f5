"""What happens on a provider's connection, in words that fit every provider. Pure data.

The parsers in ``agent_actor.providers`` make the first group out of server events; the session
makes the second group out of what it does. ``agent_actor.metering.Meter`` takes both.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent_actor.billing import ResponseUsage, TranscriptionUsage

# What the wire said


@dataclass(frozen=True, kw_only=True)
class ProviderSession:
    """A connection is set up. ``id`` is the provider's own, where it has one."""

    id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ResponseCreated:
    """``request``: the id of our request that it answers, where the provider says so."""

    id: str
    max_output_tokens: int | None = None
    request: str | None = None


@dataclass(frozen=True, kw_only=True)
class AudioDelta:
    """Audio generated. ``id`` None: of the response under way."""

    ms: float
    id: str | None = None


@dataclass(frozen=True, kw_only=True)
class TextDelta:
    """Text generated (transcript, text, function arguments)."""

    utf8_bytes: int
    id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ResponseDone:
    """A response is over; ``usage`` None: it was not said and will not be."""

    id: str
    status: str
    usage: ResponseUsage | None


@dataclass(frozen=True, kw_only=True)
class ResponseEnded:
    """Generation is over, its usage may still follow (Gemini)."""

    id: str
    status: str


@dataclass(frozen=True, kw_only=True)
class TranscriptionDone:
    item_id: str | None
    usage: TranscriptionUsage | None


@dataclass(frozen=True, kw_only=True)
class UserSpeechStarted:
    """The provider hears the user: what is sent from here on belongs to a turn to come."""


@dataclass(frozen=True, kw_only=True)
class UserSpeech:
    """A turn of the user's is over; the provider took this much of the uplink for it."""

    ms: float


@dataclass(frozen=True, kw_only=True)
class UserTurn:
    """A turn of the user's is in the conversation, to be answered."""


@dataclass(frozen=True, kw_only=True)
class TurnTaking:
    """The settings in force: whether the server answers a turn by itself."""

    by_server: bool


@dataclass(frozen=True, kw_only=True)
class ContextText:
    """A text item is in the conversation."""

    utf8_bytes: int


@dataclass(frozen=True, kw_only=True)
class InstructionsSet:
    """Instructions and tools in force, replacing the earlier."""

    utf8_bytes: int


@dataclass(frozen=True, kw_only=True)
class GoAway:
    """The provider will close this connection in ``time_left_s`` (None: it did not say)."""

    time_left_s: float | None


@dataclass(frozen=True, kw_only=True)
class WireError:
    """The provider reports an error. No text of its message is kept but ``message``."""

    code: str | None
    type: str | None
    message: str = ""
    event_id: str | None = None
    """Of our event that it is about."""


# What the session did


@dataclass(frozen=True, kw_only=True)
class UserAudio:
    """Audio sent to the provider, silence included."""

    ms: float


@dataclass(frozen=True, kw_only=True)
class TextSent:
    """Text sent into the conversation where the provider does not echo it (Gemini)."""

    utf8_bytes: int


@dataclass(frozen=True, kw_only=True)
class ResponseRequested:
    """We asked for a response. If the connection goes before it is created, it may be billed.

    ``id`` None: the provider will not say which response answers it. ``alone``: it is to be made
    without the conversation.
    """

    id: str | None = None
    max_output_tokens: int | None = None
    alone: bool = False


@dataclass(frozen=True, kw_only=True)
class ContextLimit:
    """We had the provider keep no more of the conversation than so many tokens beside the
    instructions; None: as much as the model can take."""

    tokens: int | None


@dataclass(frozen=True, kw_only=True)
class AnswerDue:
    """By what we hear a turn of the user's is over: the server may be answering it, where it says
    nothing until its first word. False: it is not, or not any more."""

    due: bool


@dataclass(frozen=True, kw_only=True)
class ConnectionLost:
    """Nothing more will come: what is under way is charged at its upper bound."""


WireEvent = (
    ProviderSession
    | ResponseCreated
    | AudioDelta
    | TextDelta
    | ResponseDone
    | ResponseEnded
    | TranscriptionDone
    | UserSpeechStarted
    | UserSpeech
    | UserTurn
    | TurnTaking
    | ContextText
    | InstructionsSet
    | GoAway
    | WireError
    | UserAudio
    | TextSent
    | ResponseRequested
    | ContextLimit
    | AnswerDue
    | ConnectionLost
)
