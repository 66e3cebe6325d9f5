"""How large a conversation is, in tokens: an upper bound, and a best guess. Pure.

A provider bills a response with the whole conversation as input, when it creates it. What the
last usage stated is known exactly; what was said, sent and generated since is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from agent_actor.billing import Billed
from agent_actor.messages import TokenCounts
from agent_actor.pricing import Rate

UNHEARD_MARGIN_MS = 2000
"""Of the audio sent before a response began, this much may still belong to the next turn."""
ITEM_OVERHEAD_TOKENS = 16
"""Special tokens around the two items of a turn, which no audio length accounts for."""
BYTES_PER_TEXT_TOKEN = 4
"""For estimates. Bounds take one token a byte: no tokenizer makes more."""


@dataclass(frozen=True)
class Mark:
    """The conversation as it was when a response began."""

    heard_ms: float
    """The uplink up to here is surely in that response's input, or in none."""
    text_added: int


class Conversation:
    """One session's. ``limit_tokens``: the provider keeps no more of it than so much, beside the
    instructions; None: as much as the model's window holds.
    """

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._text = self._audio = 0
        self._guess_text = self._guess_audio = 0
        self._instructions_bytes = 0
        self._text_added = 0
        # Positions in the uplink, in milliseconds since it began.
        self._sent_ms = 0.0
        self._settled_ms = 0.0
        """Up to here the uplink was billed, or never will be."""
        self._speaking_from_ms: float | None = None
        # Lengths, since the last usage.
        self._spoken_ms = 0.0
        self._unsettled_ms = 0.0
        """Of the uplink, what may have been a turn already at that usage."""
        self._last_cached = TokenCounts()
        self.limit_tokens: int | None = None

    # What happens

    def user_audio(self, ms: float) -> None:
        self._sent_ms += ms

    def speech_started(self) -> None:
        self._speaking_from_ms = self._sent_ms

    def speech_ended(self, ms: float, *, between_responses: bool) -> None:
        """The provider took ``ms`` of the uplink for a turn; the silence before it, it did not.

        Only ``between_responses`` is it sure that what it took is in no response's input yet.
        """
        self._spoken_ms += ms
        self._speaking_from_ms = None
        if between_responses:
            heard_ms = self._unsettled_ms + self._spoken_ms + UNHEARD_MARGIN_MS
            self._settle(self._sent_ms - heard_ms)

    def speech_lost(self) -> None:
        """The connection is gone, and the user's half of a turn with it."""
        self._speaking_from_ms = None

    @property
    def speaking_ms(self) -> float:
        """How long the turn under way has lasted, 0 without one."""
        from_ms = self._speaking_from_ms
        return 0.0 if from_ms is None else self._sent_ms - from_ms

    def text(self, utf8_bytes: int) -> None:
        self._text_added += utf8_bytes
        self._text += utf8_bytes
        self._guess_text += -(-utf8_bytes // BYTES_PER_TEXT_TOKEN)

    def instructions(self, utf8_bytes: int) -> None:
        """In force from now on, in place of the earlier."""
        self.text(max(utf8_bytes - self._instructions_bytes, 0))
        self._instructions_bytes = utf8_bytes

    def generated(self, *, most_tokens: int, guess_audio: int) -> None:
        """An answer came of which no usage tells how large it was."""
        self._audio += most_tokens
        self._text += ITEM_OVERHEAD_TOKENS
        self._guess_audio += guess_audio

    def mark(self) -> Mark:
        heard = self._sent_ms if self._speaking_from_ms is None else self._speaking_from_ms
        return Mark(heard_ms=heard - UNHEARD_MARGIN_MS, text_added=self._text_added)

    def rebase(self, billed: Billed, mark: Mark | None) -> None:
        """The conversation is what was just billed, and what came in since ``mark``."""
        t = billed.tokens
        since = self._text_added - mark.text_added if mark else 0
        text = t.input_text + t.output_text + billed.input_image + ITEM_OVERHEAD_TOKENS
        self._text = text + since
        self._guess_text = text + -(-since // BYTES_PER_TEXT_TOKEN)
        self._audio = self._guess_audio = t.input_audio + t.output_audio
        self._last_cached = t
        self._settle(mark.heard_ms if mark else self._sent_ms - UNHEARD_MARGIN_MS)
        self._unsettled_ms = self.unsettled_ms
        self._spoken_ms = 0.0

    def _settle(self, upto_ms: float) -> None:
        self._settled_ms = max(self._settled_ms, upto_ms)

    @property
    def unsettled_ms(self) -> float:
        """Of the uplink, what a response created now may have as new input."""
        return self._sent_ms - self._settled_ms

    # What it comes to

    def bound(
        self,
        *,
        limit_tokens: int | None = None,
        more_audio_ms: float = 0.0,
        more_audio_tokens: int = 0,
    ) -> TokenCounts:
        """The most that a response created now can have as input; or one created after
        ``more_audio_ms`` more of the user and ``more_audio_tokens`` of the interviewer, or with
        the conversation cut to ``limit_tokens``.
        """
        user = self._user_tokens(self.unsettled_ms + more_audio_ms)
        text, audio = self._text + ITEM_OVERHEAD_TOKENS, self._audio + user + more_audio_tokens
        limit = min(self._limit(limit_tokens, user + ITEM_OVERHEAD_TOKENS), text + audio)
        audio = min(audio, limit)
        return self._windowed(min(text, self.head_tokens + limit - audio), audio)

    @property
    def head_tokens(self) -> int:
        """The most that instructions and tools weigh: no limit cuts them."""
        return min(self._instructions_bytes, self._text + ITEM_OVERHEAD_TOKENS)

    @property
    def turn_tokens(self) -> int:
        """The most that the turn to be answered weighs: no limit cuts it either."""
        return self._user_tokens(self.unsettled_ms) + ITEM_OVERHEAD_TOKENS

    def guess(self) -> TokenCounts:
        heard = self._spoken_ms or self.unsettled_ms
        audio = self._guess_audio + self._user_tokens(heard)
        guess = self._windowed(self._guess_text, audio)
        return replace(
            guess,
            cached_text=min(self._last_cached.cached_text, guess.input_text),
            cached_audio=min(self._last_cached.cached_audio, guess.input_audio),
        )

    def _limit(self, limit_tokens: int | None, turn_tokens: int) -> int:
        limits = [n for n in (self.limit_tokens, limit_tokens) if n is not None]
        return max(min(limits), turn_tokens) if limits else self._rate.context_tokens

    def _windowed(self, text: int, audio: int) -> TokenCounts:
        """At most the model's window, the dearer kind first."""
        audio = min(audio, self._rate.context_tokens)
        return TokenCounts(
            input_audio=audio, input_text=min(text, self._rate.context_tokens - audio)
        )

    def _user_tokens(self, ms: float) -> int:
        return tokens_of(ms, self._rate.user_audio_tokens_per_s)


def tokens_of(ms: float, per_s: int) -> int:
    """Rounded up to a whole token."""
    return -(-ceil(ms) * per_s // 1000)
