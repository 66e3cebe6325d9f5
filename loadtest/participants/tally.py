"""What a person would have noticed: events in, measures out. Pure; times are the caller's clock."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from loadtest.participants.moves import (
    Note,
    SpokenOver,
    TurnBegan,
    TurnEnded,
    TurnKind,
    TurnPaused,
    TurnResumed,
)


@dataclass(frozen=True, kw_only=True)
class Spurt:
    """A stretch of the agent's speech, from its first audible sample to its last."""

    utterance: int
    began_s: float
    ended_s: float


@dataclass(frozen=True, kw_only=True)
class Response:
    """How long the agent took from the end of an own turn to its first audible sample."""

    kind: TurnKind
    number: int
    response_s: float


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A barge-in; `stopped_after_s` None: the agent had not fallen silent by the end."""

    number: int
    utterance: int
    began_s: float
    stopped_after_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """The agent became audible in the middle of an answer."""

    answer: int
    at_s: float
    into_answer_s: float
    in_pause: bool


@dataclass(kw_only=True)
class Tally:
    """Running measures. Call the `note_` methods in the order things happened."""

    connect_s: list[float] = field(default_factory=list)
    """How long each join took, from asking to being in the room with a published microphone."""
    joined_s: list[float] = field(default_factory=list)
    agent_seen_s: float | None = None
    first_audio_s: float | None = None
    answers: int = 0
    barge_ins: int = 0
    pauses: int = 0
    departures: int = 0
    spurts: list[Spurt] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)
    received: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(kind, topic or key) -> how many; kinds: data, text, attribute, transcription."""
    attributes: dict[str, str] = field(default_factory=dict)
    """Last value of each attribute of a remote participant."""
    _speaking_since_s: float | None = None
    _utterances: int = 0
    _awaiting: tuple[TurnKind, int, float] | None = None

    @property
    def utterances(self) -> int:
        """Talk spurts that have begun."""
        return self._utterances

    def note_joined(self, *, at_s: float, connect_s: float) -> None:
        self.joined_s.append(at_s)
        self.connect_s.append(connect_s)

    def note_agent_seen(self, at_s: float) -> None:
        if self.agent_seen_s is None:
            self.agent_seen_s = at_s

    def note_spurt_began(self, at_s: float) -> Response | None:
        """The agent became audible; returns the response time that this completes."""
        if self.first_audio_s is None:
            self.first_audio_s = at_s
        self._utterances += 1
        self._speaking_since_s = at_s
        if self._awaiting is None:
            return None
        (kind, number, ended_s), self._awaiting = self._awaiting, None
        response = Response(kind=kind, number=number, response_s=at_s - ended_s)
        self.responses.append(response)
        return response

    def note_spurt_ended(self, at_s: float) -> tuple[Spurt, Cut | None]:
        """The agent's last audible sample; returns the spurt and the interruption it completes.

        Only after a `note_spurt_began` that has not been ended.
        """
        began_s = at_s if self._speaking_since_s is None else self._speaking_since_s
        self._speaking_since_s = None
        spurt = Spurt(utterance=self._utterances, began_s=began_s, ended_s=max(at_s, began_s))
        self.spurts.append(spurt)
        return spurt, self._close_cut(spurt)

    def note_turn(self, note: Note, at_s: float) -> None:
        """What the behaviour did; `at_s` is the moment of the sample it concerns."""
        match note:
            case TurnBegan():
                self._turn_began(note, at_s)
            case TurnEnded():
                self._turn_ended(note, at_s)
            case TurnPaused():
                self.pauses += 1
            case SpokenOver():
                self._spoken_over(note, at_s)
            case TurnResumed():
                pass

    def note_received(self, kind: str, name: str) -> None:
        self.received[kind, name] += 1

    def _turn_began(self, note: TurnBegan, at_s: float) -> None:
        self._awaiting = None
        if note.kind is not TurnKind.BARGE_IN:
            return
        self.barge_ins += 1
        if self._speaking_since_s is not None:
            self.cuts.append(Cut(number=note.number, utterance=self._utterances, began_s=at_s))

    def _turn_ended(self, note: TurnEnded, at_s: float) -> None:
        if note.kind is TurnKind.ANSWER:
            self.answers += 1
        if self._speaking_since_s is None:
            self._awaiting = (note.kind, note.number, at_s)

    def _spoken_over(self, note: SpokenOver, at_s: float) -> None:
        self.overlaps.append(
            Overlap(
                answer=note.answer,
                at_s=at_s,
                into_answer_s=note.into_answer_s,
                in_pause=note.in_pause,
            )
        )

    def _close_cut(self, spurt: Spurt) -> Cut | None:
        if not self.cuts or self.cuts[-1].utterance != spurt.utterance:
            return None
        cut = self.cuts[-1]
        # The last audible sample can precede the barge-in by the listener's own delay.
        stopped_after_s = max(0.0, spurt.ended_s - cut.began_s)
        closed = Cut(
            number=cut.number,
            utterance=cut.utterance,
            began_s=cut.began_s,
            stopped_after_s=stopped_after_s,
        )
        self.cuts[-1] = closed
        return closed
