"""What a participant says about itself: a line for each event, one summary at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from loadtest.participants.listening import AudioReport
from loadtest.participants.tally import Tally


class EventName(StrEnum):
    STARTED = "started"
    JOINED = "joined"
    REJOINED = "rejoined"
    AGENT_SEEN = "agent_seen"
    AGENT_GONE = "agent_gone"
    AGENT_SPEECH_STARTED = "agent_speech_started"
    AGENT_SPEECH_ENDED = "agent_speech_ended"
    SPEAKING = "speaking"
    PAUSED = "paused"
    RESUMED = "resumed"
    ANSWERED = "answered"
    INTERRUPTED = "interrupted"
    SPOKEN_OVER = "spoken_over"
    RECONNECTING = "reconnecting"
    RECONNECTED = "reconnected"
    LEFT = "left"
    ENDED = "ended"
    FAILED = "failed"
    SUMMARY = "summary"


class Outcome(StrEnum):
    """Why a participant is no longer there."""

    ROOM_ENDED = "room_ended"
    """The server or the agent ended the room, or removed the participant."""
    SCRIPT_ENDED = "script_ended"
    """The script said to leave for good."""
    STOPPED = "stopped"
    """Asked to stop from outside."""
    TIME_LIMIT = "time_limit"
    CONNECTION_LOST = "connection_lost"
    """The connection broke and could not be restored."""


@dataclass(frozen=True, kw_only=True)
class ParticipantEvent:
    """`t_s`: seconds since the participant's start (the process's, on the command line)."""

    name: EventName
    t_s: float
    detail: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"event": self.name.value, "t_s": round(self.t_s, 4), **_rounded(self.detail)}


@dataclass(frozen=True, kw_only=True)
class UplinkReport:
    """What the microphone sent; `skipped_s` is audio left out because the process was late."""

    frames: int = 0
    speech_s: float = 0.0
    skipped_s: float = 0.0

    def __add__(self, other: UplinkReport) -> UplinkReport:
        return UplinkReport(
            frames=self.frames + other.frames,
            speech_s=self.speech_s + other.speech_s,
            skipped_s=self.skipped_s + other.skipped_s,
        )


@dataclass(frozen=True, kw_only=True)
class ParticipantSummary:
    """All measures of one participant. Times in seconds; None: it never happened."""

    script: str
    outcome: Outcome
    disconnect_reason: str | None
    t0_epoch_s: float | None
    """The moment that `first_audio_since_t0_s` and `joined_since_t0_s` count from."""
    start_since_t0_s: float | None
    """From t0 to the participant's start; adding it to any `_s` time makes it count from t0."""
    duration_s: float
    tally: Tally
    heard: AudioReport
    sent: UplinkReport

    @property
    def first_audio_s(self) -> float | None:
        return self.tally.first_audio_s

    @property
    def first_audio_since_t0_s(self) -> float | None:
        return self._since_t0(self.tally.first_audio_s)

    @property
    def joined_since_t0_s(self) -> float | None:
        return self._since_t0(next(iter(self.tally.joined_s), None))

    def as_json(self) -> dict[str, Any]:
        """The summary line's content; durations in milliseconds where people think in them."""
        tally, heard = self.tally, self.heard
        content: dict[str, Any] = _rounded(
            {
                "script": self.script,
                "outcome": self.outcome.value,
                "disconnect_reason": self.disconnect_reason,
                "duration_s": self.duration_s,
                "connect_s": next(iter(tally.connect_s), None),
                "joined_s": tally.joined_s,
                "agent_seen_s": tally.agent_seen_s,
                "first_audio_s": tally.first_audio_s,
                "joined_since_t0_s": self.joined_since_t0_s,
                "first_audio_since_t0_s": self.first_audio_since_t0_s,
                "answers": tally.answers,
                "pauses": tally.pauses,
                "departures": tally.departures,
                "utterances": tally.utterances,
                "agent_speech": [asdict(spurt) for spurt in tally.spurts],
                "responses": [asdict(response) for response in tally.responses],
                "barge_ins": tally.barge_ins,
                "interruptions": [asdict(cut) for cut in tally.cuts],
                "spoken_over": len(tally.overlaps),
                "overlaps": [asdict(overlap) for overlap in tally.overlaps],
                "heard": _heard_json(heard),
                "received": _received_json(tally),
                "attributes": dict(tally.attributes),
                "uplink": asdict(self.sent),
            }
        )
        return content

    def _since_t0(self, at_s: float | None) -> float | None:
        if at_s is None or self.start_since_t0_s is None:
            return None
        return at_s + self.start_since_t0_s


def _heard_json(heard: AudioReport) -> dict[str, Any]:
    jitter_s = heard.jitter_s
    return {
        "audio_s": heard.audio_s,
        "speech_dbfs": heard.speech_dbfs,
        "clipped_samples": heard.clipped_samples,
        "gaps": heard.gaps,
        "gap_ms": heard.gap_s * 1000,
        "longest_gap_ms": heard.longest_gap_s * 1000,
        "frames": heard.frames,
        "arrival_jitter_ms": None if jitter_s is None else jitter_s * 1000,
        "longest_arrival_gap_ms": heard.longest_arrival_gap_s * 1000,
    }


def _received_json(tally: Tally) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for (kind, name), count in sorted(tally.received.items()):
        counts.setdefault(kind, {})[name] = count
    return counts


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
