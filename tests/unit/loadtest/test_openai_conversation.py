from __future__ import annotations

from typing import Any

import pytest

from loadtest.simulators.openai_conversation import (
    Conversation,
    Item,
    Weight,
    head_segments,
    shared_prefix,
    weigh,
)
from loadtest.simulators.openai_schema import ClientError


def user(item_id: str, audio_ms: int) -> Item:
    content = [{"type": "input_audio", "transcript": "not billed as input"}]
    body = {"id": item_id, "type": "message", "role": "user", "content": content}
    return Item(body=body, audio_ms=audio_ms)


def assistant(item_id: str, audio_ms: int, transcript: str = "") -> Item:
    content = [{"type": "output_audio", "transcript": transcript}]
    body = {"id": item_id, "type": "message", "role": "assistant", "content": content}
    return Item(body=body, audio_ms=audio_ms)


def call(item_id: str, call_id: str) -> Item:
    return Item(
        body={
            "id": item_id, "type": "function_call", "call_id": call_id, "name": "advance_phase",
            "arguments": "{}",
        }
    )  # fmt: skip


def output(item_id: str, call_id: str, text: str = "ok") -> Item:
    return Item(
        body={
            "id": item_id, "type": "function_call_output", "call_id": call_id, "output": text,
        }
    )  # fmt: skip


def talk(*items: Item) -> Conversation:
    conversation = Conversation(conversation_id="conv_1")
    for item in items:
        conversation.insert(item)
    return conversation


def ids(conversation: Conversation) -> list[str]:
    return [item.item_id for item in conversation.items]


def test_users_weigh_ten_tokens_a_second_assistants_twenty() -> None:
    weight = weigh(talk(user("u", 2350), assistant("a", 3000, "x" * 41)).segments())
    assert weight == Weight(text=11, audio=24 + 60)


def test_calls_and_outputs_weigh_their_text() -> None:
    weight = weigh(talk(call("c", "call_1"), output("o", "call_1", "x" * 40)).segments())
    assert weight == Weight(text=4 + 10)


def test_instructions_and_tools_weigh_before_the_first_item() -> None:
    assert weigh(head_segments(instructions="i" * 400, tools=[])).text == 100
    assert weigh(head_segments(instructions="", tools=[{"name": "n"}])).text == 4


def test_truncated_audio_weighs_what_remains_and_has_no_transcript() -> None:
    conversation = talk(assistant("a", 4000, "hello there"))
    conversation.truncate("a", audio_end_ms=1000)
    assert weigh(conversation.segments()) == Weight(audio=20)
    assert conversation.items[0].body["content"][0]["transcript"] == ""


@pytest.mark.parametrize(
    ("item_id", "end_ms", "message"),
    [
        ("nobody", 10, "does not exist"),
        ("u", 10, "Only model output audio"),
        ("a", 4001, "Audio content of 4000ms is already shorter than 4001ms"),
    ],
)
def test_what_cannot_be_truncated(item_id: str, end_ms: int, message: str) -> None:
    conversation = talk(user("u", 100), assistant("a", 4000))
    with pytest.raises(ClientError, match=message):
        conversation.truncate(item_id, audio_end_ms=end_ms)


def test_items_go_last_first_or_after_another() -> None:
    conversation = talk(user("1", 0), user("2", 0))
    conversation.insert(user("0", 0), after="root")
    conversation.insert(user("1b", 0), after="1")
    assert ids(conversation) == ["0", "1", "1b", "2"]
    assert conversation.previous_id("1b") == "1"
    assert conversation.previous_id("0") is None


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (lambda c: c.insert(user("1", 0)), "item_create_duplicate_item_id"),
        (lambda c: c.insert(user("9", 0), after="8"), "item_create_invalid_previous_item_id"),
        (lambda c: c.insert(output("9", "call_x")), "invalid_tool_call_id"),
        (lambda c: c.delete("8"), "item_delete_invalid_item_id"),
    ],
)
def test_refusals_have_the_service_s_codes(action: Any, code: str) -> None:
    conversation = talk(user("1", 0))
    with pytest.raises(ClientError) as caught:
        action(conversation)
    assert caught.value.code == code
    assert ids(conversation) == ["1"]


def test_the_cache_holds_the_prefix_in_blocks_of_64() -> None:
    head = head_segments(instructions="i" * 4400, tools=[])
    before = [*head, *talk(user("u", 30_000)).segments()]
    now = [*head, *talk(user("u", 30_000), assistant("a", 5000)).segments()]
    cached = shared_prefix(now, before, minimum=1024)
    assert cached.total == (1100 + 300) // 64 * 64
    assert cached == Weight(text=1100, audio=1344 - 1100)


def test_nothing_is_cached_under_the_minimum() -> None:
    before = head_segments(instructions="i" * 4000, tools=[])
    assert shared_prefix(before, before, minimum=1024) == Weight()
    assert shared_prefix(before, before, minimum=0) == Weight(text=960)


def test_new_instructions_keep_only_their_common_beginning() -> None:
    items = talk(user("u", 60_000)).segments()
    before = [*head_segments(instructions="i" * 6000 + " phase one", tools=[]), *items]
    now = [*head_segments(instructions="i" * 6000 + " phase two", tools=[]), *items]
    assert shared_prefix(now, before, minimum=1024) == Weight(text=6007 // 4 // 64 * 64)


def test_a_truncated_item_leaves_the_cache() -> None:
    conversation = talk(user("u", 120_000), assistant("a", 4000), user("v", 120_000))
    before = conversation.segments()
    conversation.truncate("a", audio_end_ms=100)
    cached = shared_prefix(conversation.segments(), before, minimum=1024)
    assert cached == Weight(audio=1152)


def test_the_oldest_items_leave_a_full_context() -> None:
    conversation = talk(*(user(str(number), 100_000) for number in range(10)))
    conversation.fit(head=Weight(text=500), limit=8500, keep_ratio=0.5, after_head=None)
    assert weigh(conversation.segments()).total == 4000
    assert conversation.segments()[0].key == "6:0"
    assert len(conversation.items) == 10


def test_a_limit_after_the_head_counts_without_it() -> None:
    conversation = talk(*(user(str(number), 100_000) for number in range(3)))
    conversation.fit(head=Weight(text=500), limit=8500, keep_ratio=1.0, after_head=2000)
    assert weigh(conversation.segments()).total == 2000
