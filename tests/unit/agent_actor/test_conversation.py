from __future__ import annotations

from datetime import date

from agent_actor.billing import ResponseUsage, settle
from agent_actor.conversation import ITEM_OVERHEAD_TOKENS, UNHEARD_MARGIN_MS, Conversation
from agent_actor.rates import load_rates

RATE = load_rates().rate_for("openai_realtime", None, date(2026, 11, 23))
BILLED = settle(
    ResponseUsage(
        input_tokens=1_000, input_text=400, input_audio=600, output_text=20, output_audio=200
    ),
    RATE,
)
MARGIN = UNHEARD_MARGIN_MS // 100
"""Tokens that may still belong to the next turn."""


def rebased() -> Conversation:
    conversation = Conversation(RATE)
    conversation.rebase(BILLED, None)
    return conversation


def test_what_was_billed_and_generated_is_the_conversation() -> None:
    bound = rebased().bound()
    assert (bound.input_text, bound.input_audio) == (420 + 2 * ITEM_OVERHEAD_TOKENS, 800)


def test_silence_before_a_turn_is_not_part_of_it() -> None:
    conversation = rebased()
    conversation.user_audio(60_000)
    conversation.speech_started()
    conversation.user_audio(4_000)
    assert conversation.bound().input_audio == 800 + 640
    conversation.speech_ended(3_500, between_responses=True)
    assert conversation.bound().input_audio == 800 + 35 + MARGIN


def test_of_what_was_said_into_a_response_nothing_is_left_out() -> None:
    """The usage of that response need not hold it, so the next bound must."""
    conversation = Conversation(RATE)
    conversation.user_audio(5_000)
    mark = conversation.mark()
    conversation.speech_started()
    conversation.user_audio(4_000)
    conversation.speech_ended(4_000, between_responses=False)
    conversation.rebase(BILLED, mark)
    conversation.user_audio(30_000)
    conversation.speech_started()
    conversation.user_audio(1_000)
    conversation.speech_ended(1_000, between_responses=True)
    assert conversation.bound().input_audio >= 800 + 40 + 10


def test_more_of_the_user_makes_the_next_response_dearer() -> None:
    assert rebased().bound(more_audio_ms=10_000).input_audio == 800 + 100


def test_a_limit_cuts_the_conversation_but_not_the_instructions() -> None:
    conversation = Conversation(RATE)
    conversation.instructions(300)
    conversation.rebase(BILLED, None)
    cut = conversation.bound(limit_tokens=100)
    assert (cut.input_text, cut.input_audio) == (300, 100)
    conversation.limit_tokens = 100
    assert conversation.bound() == cut
    assert conversation.bound(limit_tokens=50).input_audio == 50


def test_a_limit_does_not_cut_the_turn_to_be_answered() -> None:
    conversation = rebased()
    conversation.user_audio(90_000)
    assert conversation.bound(limit_tokens=100).input_audio >= 900


def test_a_limit_above_the_conversation_changes_nothing() -> None:
    conversation = rebased()
    assert conversation.bound(limit_tokens=10**6) == conversation.bound()


def test_an_answer_without_usage_counts_at_its_largest() -> None:
    conversation = rebased()
    conversation.generated(most_tokens=500, guess_audio=80)
    assert conversation.bound().input_audio == 800 + 500
    assert conversation.guess().input_audio == 800 + 80


def test_never_more_than_the_window() -> None:
    conversation = Conversation(RATE)
    conversation.user_audio(10 * 3_600_000)
    bound = conversation.bound(more_audio_ms=60_000)
    assert bound.input_audio + bound.input_text == RATE.context_tokens
