"""Keeps the tally of one participant and tells its events. Pure but for the callback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from loadtest.participants.listening import HeardEvent, SpurtBegan
from loadtest.participants.moves import (
    AgentEnded,
    AgentStarted,
    Note,
    SpokenOver,
    TurnBegan,
    TurnEnded,
    TurnPaused,
    TurnResumed,
)
from loadtest.participants.report import EventName, ParticipantEvent
from loadtest.participants.tally import Tally

OnEvent = Callable[[ParticipantEvent], None]


class Narrator:
    """Call in the order things happened; times are seconds since the participant's start."""

    def __init__(self, on_event: OnEvent) -> None:
        self.tally = Tally()
        self._on_event = on_event
        self._audible_tracks = 0

    @property
    def agent_audible(self) -> bool:
        return self._audible_tracks > 0

    def tell(self, name: EventName, at_s: float, **detail: Any) -> None:
        self._on_event(ParticipantEvent(name=name, t_s=at_s, detail=detail))

    def joined(self, *, connect_s: float, at_s: float) -> None:
        name = EventName.REJOINED if self.tally.joined_s else EventName.JOINED
        self.tally.note_joined(at_s=at_s, connect_s=connect_s)
        self.tell(name, at_s, connect_s=connect_s)

    def left(self, at_s: float, *, for_good: bool) -> None:
        self.tally.departures += 1
        self.tell(EventName.LEFT, at_s, for_good=for_good)

    def agent_seen(self, identity: str, at_s: float) -> None:
        self.tally.note_agent_seen(at_s)
        self.tell(EventName.AGENT_SEEN, at_s, identity=identity)

    def received(self, kind: str, name: str) -> None:
        self.tally.note_received(kind, name)

    def attributes_changed(self, changed: Mapping[str, str]) -> None:
        for key in changed:
            self.tally.note_received("attribute", key)
        self.tally.attributes.update(changed)

    def heard(self, event: HeardEvent) -> AgentStarted | AgentEnded | None:
        """What it means for the behaviour; None: another track of the agent is audible anyway.

        Tracks of a dying agent and its successor can overlap.
        """
        if isinstance(event, SpurtBegan):
            self._audible_tracks += 1
            return self._agent_started(event.at_s) if self._audible_tracks == 1 else None
        self._audible_tracks -= 1
        return None if self._audible_tracks else self._agent_ended(event.ended_s)

    def turn(self, note: Note, at_s: float) -> None:
        """Something the behaviour did, at the moment of the sample it concerns."""
        self.tally.note_turn(note, at_s)
        match note:
            case TurnBegan():
                self.tell(EventName.SPEAKING, at_s, kind=note.kind.value, number=note.number)
            case TurnPaused():
                self.tell(EventName.PAUSED, at_s, number=note.number, pause_s=note.pause_s)
            case TurnResumed():
                self.tell(EventName.RESUMED, at_s, number=note.number)
            case TurnEnded():
                self.tell(EventName.ANSWERED, at_s, kind=note.kind.value, number=note.number)
            case SpokenOver():
                self.tell(
                    EventName.SPOKEN_OVER,
                    at_s,
                    number=note.answer,
                    into_answer_s=note.into_answer_s,
                    in_pause=note.in_pause,
                )

    def _agent_started(self, at_s: float) -> AgentStarted:
        first = self.tally.first_audio_s is None
        response = self.tally.note_spurt_began(at_s)
        detail: dict[str, Any] = {"utterance": self.tally.utterances, "first": first}
        if response is not None:
            detail["response_s"] = response.response_s
        self.tell(EventName.AGENT_SPEECH_STARTED, at_s, **detail)
        return AgentStarted()

    def _agent_ended(self, at_s: float) -> AgentEnded:
        spurt, cut = self.tally.note_spurt_ended(at_s)
        self.tell(
            EventName.AGENT_SPEECH_ENDED,
            spurt.ended_s,
            utterance=spurt.utterance,
            speech_s=spurt.ended_s - spurt.began_s,
        )
        if cut is not None:
            self.tell(
                EventName.INTERRUPTED,
                spurt.ended_s,
                utterance=cut.utterance,
                stopped_after_s=cut.stopped_after_s,
            )
        return AgentEnded()
