"""The agent the framework runs: its instructions, and the two tools that move the protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from typing import Protocol

from livekit.agents import Agent, AgentSession, ModelSettings, function_tool, llm

from agent_actor.dialogue import Dialogue, Said


class PhaseTools(Protocol):
    """Who carries the tools out. Each returns what the model is told in answer."""

    async def advance(self, completed: str | None) -> str: ...

    async def end(self) -> str: ...


class Interviewer(Agent):
    """``dialogue`` is told the words as they come; what is in it already was said to an earlier
    actor of this session, and the model is given it as its own conversation."""

    def __init__(
        self, *, instructions: str, tools: PhaseTools, dialogue: Dialogue | None = None
    ) -> None:
        self._dialogue = dialogue or Dialogue()
        super().__init__(instructions=instructions, chat_ctx=_conversation(self._dialogue.said))
        self._phase_tools = tools

    def heard(self, share: float) -> str:
        """The words of the sentence under way that were heard, see ``Dialogue.heard``."""
        return self._dialogue.heard(share)

    async def transcription_node(
        self, text: AsyncIterable[str], model_settings: ModelSettings
    ) -> AsyncGenerator[str, None]:
        self._dialogue.begin_words()
        async for words in text:
            self._dialogue.words(words)
            yield words

    @function_tool
    async def advance_phase(self, completed_phase: str = "") -> str:
        """Call this when you are through with the current phase of the interview.

        Args:
            completed_phase: The id of the phase that you have completed.
        """
        return await self._phase_tools.advance(completed_phase or None)

    @function_tool
    async def end_interview(self) -> str:
        """Call this when the participant wants to stop, or when you were told to wrap up."""
        return await self._phase_tools.end()


def agent_session(model: llm.RealtimeModel) -> AgentSession[None]:
    """Who holds an interview's audio and model together."""
    return AgentSession(
        llm=model,
        # The provider detects turns; a VAD or detector here would second-guess it.
        vad=None,
        turn_handling={"turn_detection": "realtime_llm"},
        # No "user away" state: a participant may think for as long as the protocol allows.
        user_away_timeout=None,
        # Browsers cancel echo themselves, and the warm-up swallows early speech.
        aec_warmup_duration=None,
    )


def _conversation(said: Sequence[Said]) -> llm.ChatContext:
    conversation = llm.ChatContext.empty()
    for one in said:
        conversation.add_message(
            role="assistant" if one.speaker == "interviewer" else "user",
            content=one.text,
            interrupted=one.interrupted,
        )
    return conversation
