"""A provider's session that is opened before the framework asks for it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from livekit.agents import Agent, llm

S = TypeVar("S", bound=llm.RealtimeSession[Any])


class BeginsEarly(llm.RealtimeModel, Generic[S]):
    """In front of a plugin's model: ``begin``, and ``session`` then gives what was begun."""

    _begun: S | None = None

    def session(self, *, turn_detection_disabled: bool = False) -> S:
        begun, self._begun = self._begun, None
        if begun is not None:
            return begun
        return self._new_session(turn_detection_disabled=turn_detection_disabled)

    def _new_session(self, *, turn_detection_disabled: bool) -> S:
        raise NotImplementedError

    async def begin(self, agent: Agent) -> None:
        """See ProviderModel. What the framework will tell the session once more changes nothing."""
        self._begun = session = self.session()
        await session._update_session(
            instructions=str(agent.instructions),
            chat_ctx=agent.chat_ctx,
            tools=llm.ToolContext(agent.tools).flatten(),
        )

    async def aclose(self) -> None:
        if self._begun is not None:
            await self._begun.aclose()
        # The plugin's: its class comes after this one.
        await super().aclose()  # type: ignore[safe-super]
