"""What has been said in an interview, as far as a successor of its actor needs to know. Pure.

Bounded: the newest ``MAX_SAID`` utterances, and of those the newest ``MAX_SAID_CHARS`` characters.
Older ones are in the journal; a successor's model does without them.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass

MAX_SAID = 200
MAX_SAID_CHARS = 48_000
MAX_CUT_OFF_CHARS = 2_000


@dataclass(frozen=True, kw_only=True)
class Said:
    """``speaker``: "interviewer" or "participant"."""

    speaker: str
    text: str
    interrupted: bool = False


class Dialogue:
    """``begin_words`` and ``words`` follow what the interviewer is saying, ``add`` takes each
    utterance when it is over."""

    def __init__(self, said: Iterable[Said] = ()) -> None:
        self._said: deque[Said] = deque()
        self._chars = 0
        self._text: str | None = None
        self._words: list[str] = []
        for one in said:
            self._append(one)

    @property
    def said(self) -> tuple[Said, ...]:
        return tuple(self._said)

    @property
    def cut_off(self) -> str:
        """The interviewer's sentence under way, as far as it is known; its end if it is long."""
        return "".join(self._words)[-MAX_CUT_OFF_CHARS:]

    def heard(self, share: float) -> str:
        """Of the sentence under way, the words that were heard when it was cut off: ``share`` of
        its sound was. Speech goes evenly enough for that; half a word is none."""
        whole = "".join(self._words)
        end = round(len(whole) * share)
        in_word = end < len(whole) and not whole[end].isspace()
        return whole[:end].rpartition(" ")[0] if in_word else whole[:end]

    def begin_words(self) -> None:
        self._words.clear()

    def words(self, text: str) -> None:
        self._words.append(text)

    def add(self, said: Said) -> None:
        if said.speaker == "interviewer":
            self._words.clear()
        self._append(said)

    def said_text(self) -> str:
        """As it is written down: the same object until somebody says more."""
        if self._text is None:
            listed = [asdict(one) for one in self._said]
            self._text = json.dumps(listed, ensure_ascii=False, separators=(",", ":"))
        return self._text

    def _append(self, said: Said) -> None:
        if len(said.text) > MAX_SAID_CHARS:
            said = Said(
                speaker=said.speaker, text=said.text[-MAX_SAID_CHARS:], interrupted=said.interrupted
            )
        self._said.append(said)
        self._chars += len(said.text)
        while len(self._said) > MAX_SAID or self._chars > MAX_SAID_CHARS:
            self._chars -= len(self._said.popleft().text)
        self._text = None
