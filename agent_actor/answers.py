"""Which responses of the provider there were: when, for how much, and after what silence. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from agent_actor.messages import TokenCounts
from agent_actor.wire_events import (
    AudioDelta,
    ConnectionLost,
    ResponseCreated,
    ResponseDone,
    ResponseEnded,
    UserSpeechStarted,
    UserTurn,
    WireEvent,
)

LOST = "lost"
_CUT_OFF = frozenset({"cancelled", "interrupted"})
MOST_SILENCES = 1_000
"""That are kept of a session: they travel with its result."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response that is over. Times are epoch seconds."""

    id: str
    began_at: float
    ended_at: float
    status: str
    """In the provider's words, or LOST with the connection."""
    tokens: TokenCounts
    """Billed; none for one that was lost."""
    spent_pico_usd: int
    priced: bool
    """False: its usage was not said."""
    first_audio_s: float | None = None
    """From its beginning."""
    silence_s: float | None = None
    """From the end of the participant's turn, by the provider's word, to its first audio. None: it
    answers no turn, or an earlier response has."""

    @property
    def cancelled(self) -> bool:
        return self.status in _CUT_OFF


@dataclass
class _Under:
    began_at: float
    first_audio_s: float | None = None
    silence_s: float | None = None
    ended_at: float | None = None


class Answers:
    """Feed it every wire event, in order, with what it was billed."""

    def __init__(self) -> None:
        self._under: dict[str, _Under] = {}
        self._turn_at: float | None = None
        self.silences_s: list[float] = []
        """Before each first audio that answered a turn; at most MOST_SILENCES."""

    def feed(
        self, event: WireEvent, at: float, *, tokens: TokenCounts, spent_pico_usd: int
    ) -> list[Answer]:
        """Those that are over with it. ``tokens`` and ``spent``: what this event added to the
        bill."""
        match event:
            case UserTurn():
                self._turn_at = at if self._turn_at is None else self._turn_at
            case UserSpeechStarted():
                # The silence was not one.
                self._turn_at = None
            case ResponseCreated(id=id_):
                self._under.setdefault(id_, _Under(began_at=at))
            case AudioDelta(id=id_):
                self._heard(id_, at)
            case ResponseEnded(id=id_) if id_ in self._under:
                self._under[id_].ended_at = at
            case ResponseDone(id=id_, status=status, usage=usage):
                priced = usage is not None
                return [self._over(id_, at, status, tokens, spent_pico_usd, priced=priced)]
            case ConnectionLost():
                return self.close(at)
        return []

    def close(self, at: float) -> list[Answer]:
        """Nothing more comes on this connection: those that it took along."""
        ids = list(self._under)
        return [self._over(id_, at, LOST, TokenCounts(), 0, priced=False) for id_ in ids]

    def _heard(self, id_: str | None, at: float) -> None:
        under = self._under.get(id_) if id_ is not None else self._newest()
        if under is None or under.first_audio_s is not None:
            return
        under.first_audio_s = at - under.began_at
        if self._turn_at is None:
            return
        under.silence_s, self._turn_at = at - self._turn_at, None
        if len(self.silences_s) < MOST_SILENCES:
            self.silences_s.append(round(under.silence_s, 3))

    def _newest(self) -> _Under | None:
        return next((u for u in reversed(self._under.values()) if u.ended_at is None), None)

    def _over(
        self,
        id_: str,
        at: float,
        status: str,
        tokens: TokenCounts,
        spent_pico_usd: int,
        *,
        priced: bool,
    ) -> Answer:
        under = self._under.pop(id_, None) or _Under(began_at=at)
        return Answer(
            id=id_,
            began_at=under.began_at,
            ended_at=at if under.ended_at is None else under.ended_at,
            status=status,
            tokens=tokens,
            spent_pico_usd=spent_pico_usd,
            priced=priced,
            first_audio_s=under.first_audio_s,
            silence_s=under.silence_s,
        )
