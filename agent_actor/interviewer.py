"""The agent the framework runs: its instructions, and the two tools that move the protocol."""

from __future__ import annotations

from typing import Protocol

from livekit.agents import Agent, function_tool


class PhaseTools(Protocol):
    """Who carries the tools out. Each returns what the model is told in answer."""

    async def advance(self, completed: str | None) -> str: ...

    async def end(self) -> str: ...


class Interviewer(Agent):
    def __init__(self, *, instructions: str, tools: PhaseTools) -> None:
        super().__init__(instructions=instructions)
        self._phase_tools = tools

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
