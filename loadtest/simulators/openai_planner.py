"""Plans responses: what goes in and what it weighs, what the interviewer says to it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from loadtest.simulators.openai_config import SessionConfig, check_item
from loadtest.simulators.openai_conversation import (
    Conversation,
    Item,
    Segment,
    Weight,
    head_segments,
    shared_prefix,
    weigh,
)
from loadtest.simulators.openai_requests import client_item, script_prompt, shown_fields
from loadtest.simulators.openai_response import Plan
from loadtest.simulators.openai_schema import ClientError
from loadtest.simulators.script import Interviewer

# How much of the limit the service keeps by itself is not told; a margin saves a cut a turn.
TRUNCATION_KEEPS = 0.8
TAKES = 64


class Planner:
    """One session's planner; remembers the last prompt, which is what the cache holds."""

    def __init__(
        self,
        *,
        conversation: Conversation,
        interviewer: Interviewer,
        random: Random,
        max_input_tokens: int,
        cache_min_tokens: int,
    ) -> None:
        self._conversation, self._interviewer = conversation, interviewer
        self._random = random
        self._max_input_tokens = max_input_tokens
        self._cache_min_tokens = cache_min_tokens
        self._last_prompt: Sequence[Segment] = ()

    def plan(self, config: SessionConfig, params: dict[str, Any]) -> Plan:
        """Decide the response to `params`, as `check_response` returns them. Raises ClientError."""
        items = self._input_items(params)
        head = head_segments(
            instructions=params.get("instructions", config.instructions),
            tools=params.get("tools", config.data["tools"]),
        )
        self._cut_context(config.data["truncation"], weigh(head))
        segments = [*head, *self._conversation.segments(items)]
        cached = shared_prefix(segments, self._last_prompt, minimum=self._cache_min_tokens)
        self._last_prompt = segments
        shown = shown_fields(config, params, self._conversation.conversation_id)
        limit = shown["max_output_tokens"]
        heard = self._conversation.items if items is None else items
        if any(item.spoken_by_assistant for item in self._conversation.items):
            # It may be the history of an earlier connection.
            self._interviewer.carry_on()
        return Plan(
            reply=self._interviewer.reply(script_prompt(config, params, heard)),
            weight=weigh(segments),
            cached=cached,
            max_tokens=None if limit == "inf" else limit,
            audio=shown["output_modalities"] == ["audio"],
            in_conversation=shown["conversation_id"] is not None,
            choice=self._random.randrange(TAKES),
            shown=shown,
        )

    def _input_items(self, params: dict[str, Any]) -> list[Item] | None:
        """Items of a response with its own input; None means the conversation."""
        if "input" not in params:
            return None
        return [
            self._input_item(entry, f"response.input[{index}]")
            for index, entry in enumerate(params["input"])
        ]

    def _input_item(self, entry: Any, path: str) -> Item:
        if isinstance(entry, dict) and entry.get("type") == "item_reference":
            return self._conversation.require(
                entry.get("id"), code="item_reference_invalid_item_id", doing="referencing"
            )
        return client_item(check_item(entry, path))

    def _cut_context(self, truncation: Any, head: Weight) -> None:
        ratio, after_head = TRUNCATION_KEEPS, None
        if isinstance(truncation, dict):
            ratio = truncation["retention_ratio"]
            after_head = (truncation.get("token_limits") or {}).get("post_instructions")
        if truncation != "disabled":
            self._conversation.fit(
                head=head,
                limit=self._max_input_tokens,
                keep_ratio=ratio,
                after_head=after_head,
            )
        elif head.total + weigh(self._conversation.segments()).total > self._max_input_tokens:
            raise ClientError(
                "The conversation exceeds the model's input token limit and truncation is "
                "disabled.",
                code="context_length_exceeded",
            )
