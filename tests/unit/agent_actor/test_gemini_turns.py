from __future__ import annotations

from typing import Any

from google.genai import types

from agent_actor.providers.gemini_turns import Turns

Message = types.LiveServerMessage


def content(**fields: Any) -> Message:
    return Message(server_content=types.LiveServerContent(**fields))


WORDS = content(output_transcription=types.Transcription(text="How was it?"))
CALL = Message(tool_call=types.LiveServerToolCall(function_calls=[types.FunctionCall(name="f")]))
NOT_NOW = Message(session_resumption_update=types.LiveServerSessionResumptionUpdate())
HANDLE = Message(
    session_resumption_update=types.LiveServerSessionResumptionUpdate(
        new_handle="h", resumable=True
    )
)
COMPLETE = content(generation_complete=True)
OVER = content(turn_complete=True)
INTERRUPTED = content(interrupted=True)


def after(*messages: Message, asked: bool = False) -> Turns:
    turns = Turns()
    if asked:
        turns.asked()
    for message in messages:
        turns.see(message)
    return turns


def test_between_turns_it_can_be_left_from_the_start_and_after_each_turn() -> None:
    assert Turns().between
    assert after(NOT_NOW, WORDS, COMPLETE, OVER, HANDLE).between


def test_in_a_turn_it_cannot() -> None:
    for messages in (
        [NOT_NOW],
        [NOT_NOW, WORDS],
        [NOT_NOW, WORDS, COMPLETE],
        [NOT_NOW, WORDS, COMPLETE, OVER],
        [NOT_NOW, CALL],
    ):
        assert not after(*messages).between, messages


def test_nor_while_an_answer_is_due() -> None:
    turns = after(asked=True)
    assert turns.owed
    assert not turns.between
    turns.see(WORDS)
    assert not turns.owed


def test_words_are_lost_only_while_there_are_more_to_come() -> None:
    assert after(asked=True).cut_short
    assert after(WORDS).cut_short
    assert after(CALL).cut_short
    assert not after(WORDS, COMPLETE).cut_short
    assert not after(WORDS, COMPLETE, OVER).cut_short
    assert not Turns().cut_short


def test_an_answer_begins_once() -> None:
    turns = Turns()
    assert [turns.see(m) for m in (NOT_NOW, WORDS, WORDS, COMPLETE, OVER, WORDS)] == [
        False,
        True,
        False,
        False,
        False,
        True,
    ]


def test_what_interrupts_is_still_to_be_answered() -> None:
    turns = after(WORDS)
    turns.asked()
    turns.see(INTERRUPTED)
    turns.see(OVER)
    assert turns.owed
    turns.see(OVER)
    assert not turns.owed, "an answer without a word"
