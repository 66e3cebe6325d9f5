"""The context window of a session, in tokens; pure.

Audio is 25 tokens a second both ways (what the Live API's per-minute prices come to: $0.018 a
minute at $12 a million is 1,500 tokens), text about 4 characters a token. Transcripts add no
tokens: the audio they were made from is in the window already. Every generation bills the whole
window so far as input, and nothing is cached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from loadtest.simulators.gemini.setup import Compression

AUDIO_TOKENS_PER_S = 25
CHARS_PER_TOKEN = 4


class Role(Enum):
    USER = "user"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Tokens:
    text: int = 0
    audio: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.text + other.text, self.audio + other.audio)

    @property
    def total(self) -> int:
        return self.text + self.audio


def text_tokens(text: str) -> Tokens:
    """At least one token for any text at all."""
    return Tokens(text=-(-len(text) // CHARS_PER_TOKEN))


def audio_tokens(duration_ms: float) -> Tokens:
    """Begun tokens count."""
    return Tokens(audio=-(-round(duration_ms) * AUDIO_TOKENS_PER_S // 1_000))


@dataclass(frozen=True, slots=True)
class Entry:
    role: Role
    tokens: Tokens


@dataclass(frozen=True, kw_only=True)
class ContextWindow:
    """`preamble` (instructions and tools) is never trimmed. Immutable: a handle keeps a copy."""

    preamble: Tokens = Tokens()
    entries: tuple[Entry, ...] = ()

    @property
    def tokens(self) -> Tokens:
        return sum((entry.tokens for entry in self.entries), self.preamble)

    def add(self, role: Role, tokens: Tokens) -> ContextWindow:
        if not tokens.total:
            return self
        return replace(self, entries=(*self.entries, Entry(role, tokens)))

    def compressed(self, limits: Compression | None) -> ContextWindow:
        """The window as it is before a generation runs.

        Above the trigger the oldest entries go until at most the target is left; the cut is
        always at the start of a user's turn, and the newest user's turn stays.
        """
        if limits is None or self.tokens.total <= limits.trigger:
            return self
        starts = [i for i, entry in enumerate(self.entries) if self._opens_user_turn(i)]
        kept = self
        for start in starts:
            kept = replace(self, entries=self.entries[start:])
            if kept.tokens.total <= limits.target:
                break
        return kept

    def _opens_user_turn(self, index: int) -> bool:
        if self.entries[index].role is not Role.USER:
            return False
        return index == 0 or self.entries[index - 1].role is not Role.USER
