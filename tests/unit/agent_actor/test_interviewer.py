from __future__ import annotations

from collections.abc import AsyncIterator

from livekit.agents import ModelSettings
from livekit.agents.llm import ChatMessage

from agent_actor.dialogue import Dialogue, Said
from agent_actor.interviewer import Interviewer


class Tools:
    async def advance(self, completed: str | None) -> str:
        return ""

    async def end(self) -> str:
        return ""


async def words(*parts: str) -> AsyncIterator[str]:
    for part in parts:
        yield part


async def test_its_words_are_known_while_it_speaks_and_pass_as_they_are() -> None:
    dialogue = Dialogue()
    agent = Interviewer(instructions="Ask.", tools=Tools(), dialogue=dialogue)
    spoken = agent.transcription_node(words("Where ", "do you"), ModelSettings())
    assert await anext(spoken) == "Where "
    assert dialogue.cut_off == "Where "
    assert [part async for part in spoken] == ["do you"]
    assert dialogue.cut_off == "Where do you"


async def test_a_successor_s_model_is_given_what_was_said() -> None:
    said = (
        Said(speaker="interviewer", text="Where do you walk?"),
        Said(speaker="participant", text="By the lake."),
        Said(speaker="interviewer", text="And how of", interrupted=True),
    )
    agent = Interviewer(instructions="Ask.", tools=Tools(), dialogue=Dialogue(said))
    items = [item for item in agent.chat_ctx.items if isinstance(item, ChatMessage)]
    assert [(m.role, m.text_content, m.interrupted) for m in items] == [
        ("assistant", "Where do you walk?", False),
        ("user", "By the lake.", False),
        ("assistant", "And how of", True),
    ]
