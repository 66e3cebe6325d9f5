"""What a session has cost so far, from what the provider says on the wire. Pure.

A parser of ``agent_actor.providers`` turns raw server events into ``agent_actor.wire_events``;
the session adds what it does itself (``UserAudio``, ``TextSent``, ``ResponseRequested``,
``ConnectionLost``). ``Meter.feed`` takes them in order of arrival. Three figures come out, all in
pico-dollars:

* ``spent``: what usage events billed, plus an upper bound for every response that ended without
  one. It never falls and never understates.
* ``estimate``: what the responses under way have cost so far, as best we can tell.
* ``at_risk``: the most that the responses under way can still be billed.

A provider bills a response when it creates it, with the whole conversation as input: how large
that can be is ``agent_actor.conversation``'s to say.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil

from agent_actor.billing import Billed, ResponseUsage, TranscriptionUsage, settle
from agent_actor.contract import SessionId
from agent_actor.conversation import BYTES_PER_TEXT_TOKEN, Conversation, Mark, tokens_of
from agent_actor.messages import PicoUsd, TokenCounts, UsageReport
from agent_actor.pricing import Rate, TranscriptionRate
from agent_actor.wire_events import (
    AnswerDue,
    AudioDelta,
    ConnectionLost,
    ContextLimit,
    ContextText,
    GoAway,
    InstructionsSet,
    ProviderSession,
    ResponseCreated,
    ResponseDone,
    ResponseEnded,
    ResponseRequested,
    TextDelta,
    TextSent,
    TranscriptionDone,
    TurnTaking,
    UserAudio,
    UserSpeech,
    UserSpeechStarted,
    UserTurn,
    WireError,
    WireEvent,
)

RESPONSE_REFUSED = "conversation_already_has_active_response"
GOODBYE_OUTPUT_TOKENS = 120
"""Six seconds of OpenAI speech: the cap under which a goodbye is reserved for."""
RESPONSES_A_MINUTE = 6
MINUTE_MS = 60_000
ALONE_INPUT_BYTES = 512
"""Input of a response that is asked for without the conversation: its own instructions, and what
the provider wraps around them."""


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A response that we asked for and that does not exist yet."""

    id: str | None
    max_output_tokens: int | None
    alone: bool


@dataclass
class _Under:
    """A response under way. ``mark`` None: it does not go by the conversation."""

    input: TokenCounts
    guess: TokenCounts
    max_output_tokens: int
    mark: Mark | None
    audio_ms: float = 0.0
    text_bytes: int = 0
    ended: bool = False


class Meter:
    """One attempt's meter. Feed it every event, in order; read it at any time."""

    def __init__(
        self,
        *,
        rate: Rate,
        transcription: TranscriptionRate | None = None,
        max_output_tokens: int | None = None,
        goodbye_output_tokens: int | None = GOODBYE_OUTPUT_TOKENS,
        can_be_alone: bool = True,
        thinks_beside: bool = False,
    ) -> None:
        """``max_output_tokens``: the session's cap on a response, None for the model's own.
        ``goodbye_output_tokens``: of a goodbye, None where a single response cannot be capped.
        ``can_be_alone``: responses can be had without the conversation. ``thinks_beside``: the
        cap does not hold what the model thinks, which is billed as text.
        """
        self._rate = rate
        self._transcription_rate = transcription
        self._session_cap = max_output_tokens
        self._goodbye_tokens = goodbye_output_tokens
        self._can_be_alone = can_be_alone
        self._thinks_beside = thinks_beside
        self._conversation = Conversation(rate)
        self._untranscribed_ms: deque[float] = deque()
        self._under: dict[str, _Under] = {}
        self._settled: set[str] = set()
        self._asked: list[_Asked] = []
        self._by_server = True
        self._turn_open = False
        """The server is about to answer a turn, and has not said so yet."""
        self._answer_due = False
        """The same by our own ears: it may be so. Reported, and nothing else goes by it."""
        self._seq = 0
        self._spent = 0
        self.tokens = TokenCounts()
        """Billed so far. Images are priced, but not in these counts: see ``image_tokens``."""
        self.image_tokens = 0
        self.responses = 0
        self.unpriced_responses = 0
        self.bounded_responses = 0
        """Priced from a usage that left something open."""
        self.unpriced_pico = 0
        """Of what is spent, the upper bounds charged where no usage came."""
        self.transcription_pico = 0
        self.unpriced_transcriptions = 0

    # Figures

    @property
    def spent_pico(self) -> PicoUsd:
        return PicoUsd(self._spent)

    @property
    def estimate_pico(self) -> PicoUsd:
        """Of the responses under way, what they have cost so far; never above ``at_risk``."""
        return PicoUsd(sum(min(self._guess(u), self._bound(u)) for u in self._under.values()))

    @property
    def at_risk_pico(self) -> PicoUsd:
        """The most that responses under way, asked for or about to be begun can be billed, and
        the transcription of what was said and is being said.
        """
        asked = sum(self._asked_pico(a) for a in self._asked)
        asked += self.worst_response_pico() if self._turn_open else 0
        under = sum(self._bound(u) for u in self._under.values())
        return PicoUsd(under + asked + self._untranscribed_pico())

    @property
    def goodbye_pico(self) -> PicoUsd:
        """The most that a goodbye could cost if it were said now, under its cap."""
        whole = self.worst_response_pico(self._goodbye_tokens)
        return min(whole, self.alone_pico(self._goodbye_tokens)) if self._can_be_alone else whole

    @property
    def responding(self) -> bool:
        """A response is under way, or asked for."""
        return bool(self._asked) or any(not u.ended for u in self._under.values())

    @property
    def settling(self) -> bool:
        """Something is at risk that mostly costs less than was set aside for it."""
        return self.responding or bool(self._untranscribed_ms)

    def worst_response_pico(
        self,
        max_output_tokens: int | None = None,
        *,
        limit_tokens: int | None = None,
        more_audio_ms: float = 0.0,
    ) -> PicoUsd:
        """The most that one response created now could cost: no cache hit, the full output.

        ``limit_tokens``: with the conversation cut to so many. ``more_audio_ms``: created after
        so much more of the user.
        """
        input_ = self._conversation.bound(limit_tokens=limit_tokens, more_audio_ms=more_audio_ms)
        return PicoUsd(self._rate.price(input_) + self._output_pico(self._cap(max_output_tokens)))

    def worst_minute_pico(self) -> PicoUsd:
        """The most that the next minute could cost: the interviewer speaks all the time and so
        does the user, and each response has all of it uncached as its input.
        """
        spoken = tokens_of(MINUTE_MS, self._rate.agent_audio_tokens_per_s)
        most = self._conversation.bound(more_audio_ms=MINUTE_MS, more_audio_tokens=spoken)
        responses = RESPONSES_A_MINUTE * self._rate.price(most) + self._output_pico(spoken)
        return PicoUsd(responses + self.transcription_bound_pico(MINUTE_MS))

    def affordable_output_tokens(
        self, remaining_pico: int, *, limit_tokens: int | None = None
    ) -> int:
        """The output cap under which a response created now costs at most ``remaining_pico``.

        0: not even its input can be paid for.
        """
        bound = self._conversation.bound(limit_tokens=limit_tokens)
        return self._output_for(remaining_pico - self._rate.price(bound))

    def affordable_context_tokens(self, remaining_pico: int, max_output_tokens: int) -> int:
        """To how many tokens the conversation has to be cut, so that a response under this cap
        costs at most ``remaining_pico``. 0: there is no such number.
        """
        head = self._conversation.head_tokens * self._rate.text_in
        left = remaining_pico - head - self._output_pico(self._cap(max_output_tokens))
        tokens = left // max(self._rate.audio_in, self._rate.text_in)
        return tokens if tokens >= self._conversation.turn_tokens else 0

    def alone_pico(self, max_output_tokens: int | None = None) -> PicoUsd:
        """The most that a response asked for without the conversation could cost."""
        cap = self._cap(max_output_tokens)
        return PicoUsd(ALONE_INPUT_BYTES * self._rate.text_in + self._output_pico(cap))

    def affordable_alone_tokens(self, remaining_pico: int) -> int:
        """Its output cap, as above; 0 too where there is no such response."""
        if not self._can_be_alone:
            return 0
        return self._output_for(remaining_pico - ALONE_INPUT_BYTES * self._rate.text_in)

    def transcription_bound_pico(self, ms: float) -> PicoUsd:
        """The most that the transcription of one turn of that length could cost."""
        rate = self._transcription_rate
        return rate.price_duration(ceil(ms)) if rate else PicoUsd(0)

    def report(
        self, *, session_id: SessionId, attempt: int, now: float, final: bool = False
    ) -> UsageReport:
        """The cumulative report, one ``seq`` higher each time. ``now`` in epoch seconds.

        A final report settles what is under way as if the connection were lost.
        """
        if final:
            self._lose()
        self._seq += 1
        return UsageReport(
            session_id=session_id,
            attempt=attempt,
            seq=self._seq,
            at=now,
            provider=self._rate.provider,
            model=self._rate.model,
            tokens=self.tokens,
            spent_pico_usd=self._spent,
            estimate_pico_usd=self.estimate_pico,
            at_risk_pico_usd=self.at_risk_pico + self._due_pico(),
            goodbye_pico_usd=self.goodbye_pico,
            response_pico_usd=self.worst_response_pico(),
            minute_pico_usd=self.worst_minute_pico(),
            responses=self.responses,
            unpriced_responses=self.unpriced_responses,
            unpriced_pico_usd=self.unpriced_pico,
            transcription_pico_usd=self.transcription_pico,
            final=final,
        )

    # Events

    def feed(self, event: WireEvent) -> bool:
        """Take one event. True when money moved: something was billed, or a response began or may
        have begun."""
        match event:
            case ResponseCreated():
                return self._created(event)
            case ResponseDone():
                return self._done(event)
            case ResponseEnded():
                self._ended(event)
            case AudioDelta(ms=ms, id=id_):
                if under := self._find(id_):
                    under.audio_ms += ms
            case TextDelta(utf8_bytes=size, id=id_):
                if under := self._find(id_):
                    under.text_bytes += size
            case TranscriptionDone(usage=usage):
                return self._transcribed(usage)
            case UserAudio(ms=ms):
                self._conversation.user_audio(ms)
            case UserSpeechStarted():
                self._conversation.speech_started()
            case UserSpeech(ms=ms):
                self._spoke(ms)
            case ContextText(utf8_bytes=size) | TextSent(utf8_bytes=size):
                self._conversation.text(size)
            case InstructionsSet(utf8_bytes=size):
                self._conversation.instructions(size)
            case ContextLimit(tokens=tokens):
                self._conversation.limit_tokens = tokens
            case ResponseRequested(id=id_, max_output_tokens=cap, alone=alone):
                self._asked.append(_Asked(id=id_, max_output_tokens=cap, alone=alone))
            case ConnectionLost():
                return self._lose()
            case WireError(code=code, event_id=id_):
                self._refused(code, id_)
            case UserTurn():
                self._turn_open = self._by_server and not self.responding
            case AnswerDue(due=due):
                begins, self._answer_due = due and not self._answer_due, due
                return begins
            case TurnTaking(by_server=by_server):
                self._by_server = by_server
            case ProviderSession() | GoAway():
                pass
        return False

    def _created(self, event: ResponseCreated) -> bool:
        if event.id in self._settled or event.id in self._under:
            return False
        self._answer_due = False
        # Usage that has not come by the time the next response begins is not expected any more.
        for id_ in [i for i, u in self._under.items() if u.ended]:
            self._charge_bound(id_)
        self._turn_open = False
        asked = self._take_asked(event.request)
        caps = [event.max_output_tokens, asked.max_output_tokens if asked else None]
        cap = min((c for c in caps if c is not None), default=None)
        self._open(event.id, cap, alone=asked is not None and asked.alone)
        return True

    def _refused(self, code: str | None, id_: str | None) -> None:
        """What we asked for and was refused is not billed."""
        if id_ is not None:
            self._asked = [a for a in self._asked if a.id != id_]
        elif code == RESPONSE_REFUSED and self._asked:
            self._asked.pop()

    def _take_asked(self, id_: str | None) -> _Asked | None:
        """The one by that id; where the provider does not say for which, the oldest."""
        for asked in self._asked:
            if asked.id is None or asked.id == id_:
                self._asked.remove(asked)
                return asked
        return None

    def _open(self, id_: str, cap: int | None, *, alone: bool = False) -> _Under:
        conversation = self._conversation
        under = _Under(
            input=TokenCounts(input_text=ALONE_INPUT_BYTES) if alone else conversation.bound(),
            guess=TokenCounts(input_text=ALONE_INPUT_BYTES) if alone else conversation.guess(),
            max_output_tokens=self._cap(cap),
            mark=None if alone else conversation.mark(),
        )
        self._under[id_] = under
        return under

    def _ended(self, event: ResponseEnded) -> None:
        if event.id not in self._settled and (under := self._under.get(event.id)):
            under.ended = True

    def _done(self, event: ResponseDone) -> bool:
        if event.id in self._settled:
            return False
        self._turn_open = False
        if event.usage is None:
            if event.id not in self._under:
                self._open(event.id, None)
            self._charge_bound(event.id)
            return True
        under = self._under.pop(event.id, None)
        self._settled.add(event.id)
        self._charge(settle(event.usage, self._rate), under)
        return True

    def _charge(self, billed: Billed, under: _Under | None) -> None:
        self._spent += billed.pico
        self.tokens += billed.tokens
        self.image_tokens += billed.input_image
        self.responses += 1
        self.bounded_responses += billed.bounded
        # What was used is known then, but not what it costs.
        self.unpriced_responses += self._rate.bound
        if under is None or under.mark is not None:
            self._conversation.rebase(billed, under.mark if under else None)

    def _charge_bound(self, id_: str) -> None:
        under = self._under.pop(id_)
        self._settled.add(id_)
        output = TokenCounts(output_audio=under.max_output_tokens)
        if self._rate.text_out > self._rate.audio_out:
            output = TokenCounts(output_text=under.max_output_tokens)
        self._spent += self._bound(under)
        self.unpriced_pico += self._bound(under)
        self.tokens += under.input + output
        self.responses += 1
        self.unpriced_responses += 1
        if under.mark is not None:
            self._conversation.generated(
                most_tokens=under.max_output_tokens, guess_audio=self._spoken(under).output_audio
            )

    def _lose(self) -> bool:
        self._answer_due = False
        asked, self._asked = self._asked, []
        if self._turn_open:
            asked.append(_Asked(id=None, max_output_tokens=None, alone=False))
            self._turn_open = False
        for number, a in enumerate(asked):
            name = f"requested {len(self._settled)}+{number}"
            self._open(name, a.max_output_tokens, alone=a.alone)
        before = self._spent
        for id_ in list(self._under):
            self._charge_bound(id_)
        while self._untranscribed_ms:
            self._transcribed(None)
        self._conversation.speech_lost()
        return self._spent > before

    def _spoke(self, ms: float) -> None:
        self._conversation.speech_ended(ms, between_responses=not self._under)
        if self._transcription_rate is not None:
            self._untranscribed_ms.append(ms)

    def _transcribed(self, usage: TranscriptionUsage | None) -> bool:
        pending = self._untranscribed_ms
        spoken_ms = pending.popleft() if pending else self._conversation.unsettled_ms
        pico = self._transcription_price(usage, spoken_ms)
        self.unpriced_transcriptions += usage is None
        self.unpriced_pico += 0 if usage else pico
        self._spent += pico
        self.transcription_pico += pico
        return pico > 0

    def _transcription_price(self, usage: TranscriptionUsage | None, spoken_ms: float) -> int:
        rate = self._transcription_rate
        if rate is None:
            # Nobody asked for transcription, so at this model's own, dearer prices.
            if usage is None or usage.duration_ms is not None:
                return 0
            return settle(
                ResponseUsage(
                    input_tokens=usage.input_tokens,
                    input_text=usage.input_text,
                    input_audio=usage.input_audio,
                    output_tokens=usage.output_tokens,
                    output_text=usage.output_tokens,
                ),
                self._rate,
            ).pico
        if usage is None:
            return rate.price_duration(ceil(spoken_ms))
        if usage.duration_ms is not None:
            return rate.price_duration(usage.duration_ms)
        text = usage.input_text or 0
        audio = max(usage.input_tokens - text, usage.input_audio or 0)
        return rate.price_tokens(audio=audio, text=text, output=usage.output_tokens)

    # Bounds and guesses

    def _find(self, id_: str | None) -> _Under | None:
        if id_ is not None:
            return self._under.get(id_)
        return next((u for u in reversed(self._under.values()) if not u.ended), None)

    def _cap(self, cap: int | None) -> int:
        caps = (cap, self._session_cap, self._rate.max_output_tokens)
        return min(c for c in caps if c is not None)

    def _asked_pico(self, asked: _Asked) -> int:
        if asked.alone:
            return self.alone_pico(asked.max_output_tokens)
        return self.worst_response_pico(asked.max_output_tokens)

    def _due_pico(self) -> int:
        """Whoever dies now has nobody to report what the server is perhaps generating already."""
        unsaid = self._answer_due and not self._turn_open and not self.responding
        return self.worst_response_pico() if unsaid else 0

    def _untranscribed_pico(self) -> int:
        speaking_ms = self._conversation.speaking_ms
        turns = [*self._untranscribed_ms, *([speaking_ms] if speaking_ms else [])]
        return sum(self.transcription_bound_pico(ms) for ms in turns)

    def _output_pico(self, cap: int) -> int:
        rate = self._rate
        beside = rate.max_output_tokens - cap if self._thinks_beside else 0
        return cap * rate.dearest_output + beside * rate.text_out

    def _output_for(self, left_pico: int) -> int:
        cap = self._cap(None)
        if self._thinks_beside:
            return cap if left_pico >= self._output_pico(cap) else 0
        return max(min(left_pico // self._rate.dearest_output, cap), 0)

    def _bound(self, under: _Under) -> int:
        return self._rate.price(under.input) + self._output_pico(under.max_output_tokens)

    def _guess(self, under: _Under) -> int:
        return self._rate.price(under.guess + self._spoken(under))

    def _spoken(self, under: _Under) -> TokenCounts:
        return TokenCounts(
            output_audio=tokens_of(under.audio_ms, self._rate.agent_audio_tokens_per_s),
            output_text=-(-under.text_bytes // BYTES_PER_TEXT_TOKEN),
        )
