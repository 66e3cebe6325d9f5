"""The conversation of one Realtime session: items in order, and what they weigh as input. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.simulators.openai_prices import (
    CHARACTERS_PER_TOKEN,
    assistant_audio_tokens,
    text_tokens,
    user_audio_tokens,
)
from loadtest.simulators.openai_schema import ClientError

CACHE_BLOCK_TOKENS = 64
# An image's price depends on its size; no interview sends one, so one flat figure does.
IMAGE_TEXT_TOKENS = 255


@dataclass(kw_only=True)
class Item:
    """A conversation item: `body` as clients see it, and the audio it stands for."""

    body: dict[str, Any]
    audio_ms: int = 0
    version: int = 0

    @property
    def item_id(self) -> str:
        return str(self.body["id"])

    @property
    def spoken_by_assistant(self) -> bool:
        return self.body.get("role") == "assistant"

    @property
    def text(self) -> str:
        """Everything the model reads of it as text; a user's transcript is not part of that."""
        parts = [self.body.get(name) or "" for name in ("name", "arguments", "output")]
        for content in self.body.get("content") or ():
            parts.append(content.get("text") or "")
            if content["type"] == "output_audio":
                parts.append(content.get("transcript") or "")
        return "".join(parts)

    @property
    def audio_tokens(self) -> int:
        if self.spoken_by_assistant:
            return assistant_audio_tokens(self.audio_ms)
        return user_audio_tokens(self.audio_ms)

    @property
    def image_tokens(self) -> int:
        contents = self.body.get("content") or ()
        images = sum(1 for content in contents if content["type"] == "input_image")
        return IMAGE_TEXT_TOKENS * images


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of input: text (comparable by its beginning), then audio (all or nothing)."""

    key: str
    text: str
    audio_tokens: int = 0
    extra_text_tokens: int = 0

    @property
    def text_tokens(self) -> int:
        return text_tokens(self.text) + self.extra_text_tokens


@dataclass(frozen=True, kw_only=True)
class Weight:
    """Input tokens by modality."""

    text: int = 0
    audio: int = 0

    @property
    def total(self) -> int:
        return self.text + self.audio


def weigh(segments: Iterable[Segment]) -> Weight:
    """Sum of the segments."""
    listed = list(segments)
    return Weight(
        text=sum(segment.text_tokens for segment in listed),
        audio=sum(segment.audio_tokens for segment in listed),
    )


def shared_prefix(now: Sequence[Segment], before: Sequence[Segment], *, minimum: int) -> Weight:
    """Tokens of `now` that a prompt cache holds from `before`.

    The cache works in blocks of 64 tokens and not at all under `minimum`.
    """
    parts: list[tuple[int, int]] = []
    for mine, theirs in zip(now, before, strict=False):
        if mine == theirs:
            parts.append((mine.text_tokens, mine.audio_tokens))
            continue
        if mine.key == theirs.key:
            parts.append((_common(mine.text, theirs.text) // CHARACTERS_PER_TOKEN, 0))
        break
    total = sum(text + audio for text, audio in parts)
    if total < minimum:
        return Weight()
    return _first(parts, total - total % CACHE_BLOCK_TOKENS)


def _first(parts: Iterable[tuple[int, int]], budget: int) -> Weight:
    text = audio = 0
    for part_text, part_audio in parts:
        taken = min(part_text, budget - text - audio)
        text += taken
        audio += min(part_audio, budget - text - audio)
    return Weight(text=text, audio=audio)


def _common(one: str, other: str) -> int:
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))


@dataclass(kw_only=True)
class Conversation:
    """Items in order. Items dropped by truncation stay listed but are no longer input."""

    conversation_id: str
    items: list[Item] = field(default_factory=list)
    _left_out: set[str] = field(default_factory=set)

    def find(self, item_id: str) -> Item | None:
        return next((item for item in self.items if item.item_id == item_id), None)

    def require(self, item_id: Any, *, code: str, doing: str) -> Item:
        """The item, or a ClientError that says what could not be done."""
        item = self.find(item_id)
        if item is None:
            raise ClientError(
                f"Error {doing} item: the item with id '{item_id}' does not exist.", code=code
            )
        return item

    def previous_id(self, item_id: str) -> str | None:
        """The id of the item before this one, None for the first."""
        ids = [item.item_id for item in self.items]
        index = ids.index(item_id)
        return ids[index - 1] if index else None

    @property
    def last_id(self) -> str | None:
        return self.items[-1].item_id if self.items else None

    def insert(self, item: Item, *, after: str | None = None) -> None:
        """Add at the end, after an item, or first when `after` is "root". Raises ClientError."""
        if self.find(item.item_id) is not None:
            raise ClientError(
                f"Error adding item: an item with ID '{item.item_id}' already exists.",
                code="item_create_duplicate_item_id",
                param="item.id",
            )
        self._check_call(item)
        if after is None:
            self.items.append(item)
        elif after == "root":
            self.items.insert(0, item)
        else:
            found = self.find(after)
            if found is None:
                raise ClientError(
                    f"Error adding item: the previous item with id '{after}' does not exist.",
                    code="item_create_invalid_previous_item_id",
                    param="previous_item_id",
                )
            self.items.insert(self.items.index(found) + 1, item)

    def _check_call(self, item: Item) -> None:
        if item.body["type"] != "function_call_output":
            return
        call_id = item.body["call_id"]
        if not any(
            known.body["type"] == "function_call" and known.body["call_id"] == call_id
            for known in self.items
        ):
            raise ClientError(
                f"Tool call ID '{call_id}' not found in conversation.",
                code="invalid_tool_call_id",
                param="item.call_id",
            )

    def delete(self, item_id: Any) -> None:
        """Remove an item. Raises ClientError when there is none."""
        self.items.remove(
            self.require(item_id, code="item_delete_invalid_item_id", doing="deleting")
        )

    def truncate(self, item_id: Any, *, audio_end_ms: int) -> None:
        """Keep the first `audio_end_ms` of assistant audio and none of its transcript."""
        item = self.require(item_id, code="item_truncate_invalid_item_id", doing="truncating")
        content = (item.body.get("content") or [{}])[0]
        if not item.spoken_by_assistant or content.get("type") != "output_audio":
            raise ClientError(
                "Only model output audio messages can be truncated.",
                code="invalid_value",
                param="item_id",
            )
        if audio_end_ms > item.audio_ms:
            raise ClientError(
                f"Audio content of {item.audio_ms}ms is already shorter than {audio_end_ms}ms",
                code="invalid_value",
                param="audio_end_ms",
            )
        item.audio_ms = audio_end_ms
        item.version += 1
        content["transcript"] = ""

    def segments(self, items: Iterable[Item] | None = None) -> list[Segment]:
        """Input segments of `items`, or of the conversation without what truncation left out."""
        chosen = self.items if items is None else items
        return [
            Segment(
                key=f"{item.item_id}:{item.version}",
                text=item.text,
                audio_tokens=item.audio_tokens,
                extra_text_tokens=item.image_tokens,
            )
            for item in chosen
            if item.item_id not in self._left_out
        ]

    def fit(self, *, head: Weight, limit: int, keep_ratio: float, after_head: int | None) -> None:
        """Leave out the oldest items once input exceeds `limit` (or `after_head` past the head).

        `keep_ratio` of the limit is kept then, so that the next turns need no cut again.
        """
        allowed = limit - head.total
        if after_head is not None:
            allowed = min(allowed, after_head)
        weights = {
            item.item_id: weigh(self.segments([item])).total
            for item in self.items
            if item.item_id not in self._left_out
        }
        total = sum(weights.values())
        if total <= allowed:
            return
        for item_id, weight in weights.items():
            if total <= allowed * keep_ratio:
                break
            self._left_out.add(item_id)
            total -= weight


def head_segments(*, instructions: str, tools: Sequence[dict[str, Any]]) -> list[Segment]:
    """What comes before the items. Tools first: instructions change with each phase."""
    described = json.dumps(list(tools), separators=(",", ":")) if tools else ""
    return [Segment(key="tools", text=described), Segment(key="instructions", text=instructions)]
