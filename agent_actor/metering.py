"""What a session has cost so far, from what the provider says on the wire. Pure.

A parser of ``agent_actor.providers`` turns raw server events into ``agent_actor.wire_events``;
the session adds what it does itself (``UserAudio``, ``TextSent``, ``ResponseRequested``,
``ConnectionLost``). ``Meter.feed`` takes them in order of arrival. Three figures come out, all in
pico-dollars:

* ``spent``: what usage events billed, plus an upper bound for every response that ended without
  one. It never falls and never understates.
* ``estimate``: what the responses under way have cost so far, as best we can tell.
* ``at_risk``: the most that the responses under way can still be billed.

A provider bills a response when it creates it, with the whole conversation as input. So the
meter keeps an upper bound of the conversation's size: what the last usage stated, plus what was
said, sent and generated since.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from math import ceil

from agent_actor.billing import Billed, ResponseUsage, TranscriptionUsage, settle
from agent_actor.contract import SessionId
from agent_actor.messages import PicoUsd, TokenCounts, UsageReport
from agent_actor.pricing import Rate, TranscriptionRate
from agent_actor.wire_events import (
    AudioDelta,
    ConnectionLost,
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
    UserAudio,
    UserSpeech,
    UserSpeechStarted,
    WireError,
    WireEvent,
)

__all__ = [
    "AudioDelta",
    "ConnectionLost",
    "ContextText",
    "GoAway",
    "InstructionsSet",
    "Meter",
    "ProviderSession",
    "ResponseCreated",
    "ResponseDone",
    "ResponseEnded",
    "ResponseRequested",
    "ResponseUsage",
    "TextDelta",
    "TextSent",
    "TranscriptionDone",
    "TranscriptionUsage",
    "UserAudio",
    "UserSpeech",
    "UserSpeechStarted",
    "WireError",
    "WireEvent",
]

RESPONSE_REFUSED = "conversation_already_has_active_response"
UNHEARD_MARGIN_MS = 2000
"""Of the audio sent before a response began, this much may still belong to the next turn."""
ITEM_OVERHEAD_TOKENS = 16
"""Special tokens around the two items of a turn, which no audio length accounts for."""
BYTES_PER_TEXT_TOKEN = 4
"""For estimates. Bounds take one token a byte: no tokenizer makes more."""
GOODBYE_OUTPUT_TOKENS = 200
"""Ten seconds of OpenAI speech: the cap under which a goodbye is reserved for."""


@dataclass
class _Context:
    """Size of the conversation in tokens: an upper bound, and a best guess."""

    text: int = 0
    audio: int = 0
    guess_text: int = 0
    guess_audio: int = 0


@dataclass
class _Under:
    """A response under way."""

    input: TokenCounts
    guess: TokenCounts
    max_output_tokens: int
    user_ms: float
    """How much of the meter's uplink is surely in its input."""
    text_added: int
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
        goodbye_output_tokens: int = GOODBYE_OUTPUT_TOKENS,
    ) -> None:
        """``max_output_tokens``: the session's cap on a response, None for the model's own."""
        self._rate = rate
        self._transcription_rate = transcription
        self._session_cap = max_output_tokens
        self._goodbye_tokens = goodbye_output_tokens
        self._context = _Context()
        self._instructions_bytes = 0
        self._user_ms = 0.0
        self._speech_ms = 0.0
        self._speaking_from_ms: float | None = None
        self._text_added = 0
        self._untranscribed_ms: deque[float] = deque()
        self._last_cached = TokenCounts()
        self._under: dict[str, _Under] = {}
        self._settled: set[str] = set()
        self._requested = 0
        self._seq = 0
        self._spent = 0
        self.tokens = TokenCounts()
        """Billed so far. Images are priced, but not in these counts: see ``image_tokens``."""
        self.image_tokens = 0
        self.responses = 0
        self.unpriced_responses = 0
        self.bounded_responses = 0
        """Priced from a usage that left something open."""
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
        """The most that responses under way, or asked for, can be billed."""
        asked = self._requested * self.worst_response_pico()
        return PicoUsd(sum(self._bound(u) for u in self._under.values()) + asked)

    @property
    def goodbye_pico(self) -> PicoUsd:
        """The most that a goodbye could cost if it were said now, under its cap."""
        return self.worst_response_pico(self._goodbye_tokens)

    @property
    def responding(self) -> bool:
        return any(not u.ended for u in self._under.values())

    def worst_response_pico(self, max_output_tokens: int | None = None) -> PicoUsd:
        """The most that one response created now could cost: no cache hit, the full output."""
        cap = self._cap(max_output_tokens)
        return PicoUsd(self._rate.price(self._input_bound()) + cap * self._rate.dearest_output)

    def affordable_output_tokens(self, remaining_pico: int) -> int:
        """The output cap under which a response created now costs at most ``remaining_pico``.

        0: not even its input can be paid for.
        """
        left = remaining_pico - self._rate.price(self._input_bound())
        return max(min(left // self._rate.dearest_output, self._cap(None)), 0)

    def set_max_output_tokens(self, cap: int | None) -> None:
        """The session's cap changed; responses created from now on are bounded by it."""
        self._session_cap = cap

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
            at_risk_pico_usd=self.at_risk_pico,
            goodbye_pico_usd=self.goodbye_pico,
            responses=self.responses,
            unpriced_responses=self.unpriced_responses,
            transcription_pico_usd=self.transcription_pico,
            final=final,
        )

    # Events

    def feed(self, event: WireEvent) -> bool:
        """Take one event. True when money moved: something was billed, or a response began."""
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
                self._user_ms += ms
            case UserSpeechStarted():
                self._speaking_from_ms = self._user_ms
            case UserSpeech(ms=ms):
                self._spoke(ms)
            case ContextText(utf8_bytes=size) | TextSent(utf8_bytes=size):
                self._add_text(size)
            case InstructionsSet(utf8_bytes=size):
                self._add_text(max(size - self._instructions_bytes, 0))
                self._instructions_bytes = size
            case ResponseRequested():
                self._requested += 1
            case ConnectionLost():
                return self._lose()
            case WireError(code=code):
                # Our request was refused, as one response was under way already: not billed.
                self._requested = max(self._requested - (code == RESPONSE_REFUSED), 0)
            case ProviderSession() | GoAway():
                pass
        return False

    def _created(self, event: ResponseCreated) -> bool:
        if event.id in self._settled or event.id in self._under:
            return False
        # Usage that has not come by the time the next response begins is not expected any more.
        for id_ in [i for i, u in self._under.items() if u.ended]:
            self._charge_bound(id_)
        self._requested = max(self._requested - 1, 0)
        self._open(event.id, event.max_output_tokens)
        return True

    def _open(self, id_: str, cap: int | None) -> _Under:
        bound = self._input_bound()
        heard = self._user_ms if self._speaking_from_ms is None else self._speaking_from_ms
        under = _Under(
            input=bound,
            guess=self._input_guess(),
            max_output_tokens=self._cap(cap),
            user_ms=max(heard - UNHEARD_MARGIN_MS, 0.0),
            text_added=self._text_added,
        )
        self._under[id_] = under
        return under

    def _ended(self, event: ResponseEnded) -> None:
        if event.id not in self._settled and (under := self._under.get(event.id)):
            under.ended = True

    def _done(self, event: ResponseDone) -> bool:
        if event.id in self._settled:
            return False
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
        self._last_cached = billed.tokens
        self._rebase(billed, under)

    def _rebase(self, billed: Billed, under: _Under | None) -> None:
        """The conversation is what was just billed, and what came in since it began."""
        t = billed.tokens
        since = self._text_added - under.text_added if under else 0
        text = t.input_text + t.output_text + billed.input_image + ITEM_OVERHEAD_TOKENS
        audio = t.input_audio + t.output_audio
        self._context = _Context(
            text=text + since,
            audio=audio,
            guess_text=text + -(-since // BYTES_PER_TEXT_TOKEN),
            guess_audio=audio,
        )
        heard = under.user_ms if under else max(self._user_ms - UNHEARD_MARGIN_MS, 0.0)
        self._user_ms -= min(heard, self._user_ms)
        if self._speaking_from_ms is not None:
            self._speaking_from_ms = max(self._speaking_from_ms - heard, 0.0)
        for other in self._under.values():
            other.user_ms = max(other.user_ms - heard, 0.0)
        self._speech_ms = 0.0

    def _charge_bound(self, id_: str) -> None:
        under = self._under.pop(id_)
        self._settled.add(id_)
        output = TokenCounts(output_audio=under.max_output_tokens)
        if self._rate.text_out > self._rate.audio_out:
            output = TokenCounts(output_text=under.max_output_tokens)
        self._spent += self._bound(under)
        self.tokens += under.input + output
        self.responses += 1
        self.unpriced_responses += 1
        self._context.audio += under.max_output_tokens
        self._context.text += ITEM_OVERHEAD_TOKENS
        self._context.guess_audio += self._spoken(under).output_audio

    def _lose(self) -> bool:
        for number in range(self._requested):
            self._open(f"requested {len(self._settled)}+{number}", None)
        self._requested = 0
        before = self._spent
        for id_ in list(self._under):
            self._charge_bound(id_)
        while self._untranscribed_ms:
            self._transcribed(None)
        self._speaking_from_ms = None
        return self._spent > before

    def _spoke(self, ms: float) -> None:
        self._speech_ms += ms
        self._speaking_from_ms = None
        if self._transcription_rate is not None:
            self._untranscribed_ms.append(ms)

    def _transcribed(self, usage: TranscriptionUsage | None) -> bool:
        spoken_ms = self._untranscribed_ms.popleft() if self._untranscribed_ms else self._user_ms
        pico = self._transcription_price(usage, spoken_ms)
        self.unpriced_transcriptions += usage is None
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

    def _add_text(self, utf8_bytes: int) -> None:
        self._text_added += utf8_bytes
        self._context.text += utf8_bytes
        self._context.guess_text += -(-utf8_bytes // BYTES_PER_TEXT_TOKEN)

    def _find(self, id_: str | None) -> _Under | None:
        if id_ is not None:
            return self._under.get(id_)
        return next((u for u in reversed(self._under.values()) if not u.ended), None)

    def _cap(self, cap: int | None) -> int:
        caps = (cap, self._session_cap, self._rate.max_output_tokens)
        return min(c for c in caps if c is not None)

    def _input_bound(self) -> TokenCounts:
        audio = self._context.audio + _tokens(self._user_ms, self._rate.user_audio_tokens_per_s)
        return self._windowed(self._context.text + ITEM_OVERHEAD_TOKENS, audio)

    def _input_guess(self) -> TokenCounts:
        heard = self._speech_ms or self._user_ms
        audio = self._context.guess_audio + _tokens(heard, self._rate.user_audio_tokens_per_s)
        guess = self._windowed(self._context.guess_text, audio)
        return replace(
            guess,
            cached_text=min(self._last_cached.cached_text, guess.input_text),
            cached_audio=min(self._last_cached.cached_audio, guess.input_audio),
        )

    def _windowed(self, text: int, audio: int) -> TokenCounts:
        """At most the model's window, the dearer kind first."""
        audio = min(audio, self._rate.context_tokens)
        return TokenCounts(
            input_audio=audio, input_text=min(text, self._rate.context_tokens - audio)
        )

    def _bound(self, under: _Under) -> int:
        return self._rate.price(under.input) + under.max_output_tokens * self._rate.dearest_output

    def _guess(self, under: _Under) -> int:
        return self._rate.price(under.guess + self._spoken(under))

    def _spoken(self, under: _Under) -> TokenCounts:
        return TokenCounts(
            output_audio=_tokens(under.audio_ms, self._rate.agent_audio_tokens_per_s),
            output_text=-(-under.text_bytes // BYTES_PER_TEXT_TOKEN),
        )


def _tokens(ms: float, per_s: int) -> int:
    """Rounded up to a whole token."""
    return -(-ceil(ms) * per_s // 1000)
