"""From a client's request to what the response shows, costs and says. Pure but for new ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from loadtest.simulators.openai_audio import BYTES_PER_MS
from loadtest.simulators.openai_config import SessionConfig
from loadtest.simulators.openai_conversation import Item
from loadtest.simulators.openai_events import new_id
from loadtest.simulators.script import Prompt, Tool


def client_item(given: dict[str, Any]) -> Item:
    """An item a client created: ids filled in, audio weighed and not kept."""
    body = {
        **given,
        "id": given.get("id") or new_id("item"),
        "object": "realtime.item",
        "status": "completed",
    }
    if body["type"] == "function_call":
        body["call_id"] = given.get("call_id") or new_id("call")
    audio_ms = 0
    contents = []
    for content in given.get("content") or ():
        if content["type"] == "input_audio":
            audio_ms += len(content.get("audio") or "") * 3 // 4 // BYTES_PER_MS
            content = {"type": "input_audio", "transcript": content.get("transcript")}
        contents.append(content)
    if body["type"] == "message":
        body["content"] = contents
    return Item(body=body, audio_ms=audio_ms)


def script_prompt(config: SessionConfig, params: dict[str, Any], items: Iterable[Item]) -> Prompt:
    """What the scripted interviewer gets to see."""
    choice = params.get("tool_choice", config.data["tool_choice"])
    tools = [] if choice == "none" else params.get("tools", config.data["tools"])
    outputs = [i.body["output"] for i in items if i.body["type"] == "function_call_output"]
    required = {"required": "", "auto": None, "none": None}
    return Prompt(
        instructions=config.instructions,
        response_instructions=params.get("instructions", ""),
        tools=[Tool(name=t["name"], parameters=t.get("parameters") or {}) for t in tools],
        last_tool_output=outputs[-1] if outputs else None,
        required_tool=choice["name"] if isinstance(choice, dict) else required[choice],
    )


def shown_fields(
    config: SessionConfig, params: dict[str, Any], conversation_id: str
) -> dict[str, Any]:
    """Fields of the response object that repeat its settings."""
    output = {**config.data["audio"]["output"], **((params.get("audio") or {}).get("output") or {})}
    in_conversation = params.get("conversation", "auto") == "auto"
    return {
        "conversation_id": conversation_id if in_conversation else None,
        "output_modalities": params.get("output_modalities", config.data["output_modalities"]),
        "max_output_tokens": params.get("max_output_tokens", config.data["max_output_tokens"]),
        "audio": {"output": {"format": output["format"], "voice": output["voice"]}},
        "metadata": params.get("metadata"),
    }
