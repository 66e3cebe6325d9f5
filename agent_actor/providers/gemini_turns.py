"""When a Gemini Live connection can be left without losing anything. Pure.

A handle restores a session as it was between turns: the protocol gives none while the model
generates or waits for a function's result. Source: the Live API's reference of
``SessionResumptionUpdate`` (``resumable``) and ``GoAway``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.genai.types import LiveServerContent, LiveServerMessage


class Turns:
    """Follows a connection. Feed it every server message and what we ask for."""

    def __init__(self) -> None:
        self._resumable = True
        self._asked = False
        self._generating = False
        self._whole = True
        self._interrupted = False

    @property
    def between(self) -> bool:
        """Nobody waits for the model, and the model waits for nobody."""
        return self._resumable and not self._asked and not self._generating

    @property
    def owed(self) -> bool:
        """We have asked, and not a word has come."""
        return self._asked

    @property
    def cut_short(self) -> bool:
        """If the connection went now, words of the model would be lost with it."""
        return self._asked or not self._whole

    def asked(self) -> None:
        """A response was asked for, or a function's result was sent."""
        self._asked = True

    def see(self, message: LiveServerMessage) -> bool:
        """Whether the model begins to answer with this message."""
        begins = False
        if (update := message.session_resumption_update) is not None:
            self._resumable = bool(update.resumable)
        content = message.server_content
        if message.tool_call or (content and (content.model_turn or content.output_transcription)):
            begins = not self._generating
            self._generating, self._whole, self._asked = True, False, False
        if content is not None:
            self._see_end(content)
        return begins

    def _see_end(self, content: LiveServerContent) -> None:
        if content.generation_complete:
            self._whole = True
        if content.interrupted:
            self._interrupted = True
        if content.turn_complete:
            # What was interrupted is over, and not what we asked for by interrupting it.
            self._asked = self._asked and self._interrupted
            self._generating, self._whole, self._interrupted = False, True, False
