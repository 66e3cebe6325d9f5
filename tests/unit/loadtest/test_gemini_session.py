"""What a session remembers, what it owes, and its speech as frames."""

from __future__ import annotations

import base64
import json

import pytest

from loadtest.simulators.gemini.context import Role, Tokens, audio_tokens
from loadtest.simulators.gemini.frames import SpeechFrames
from loadtest.simulators.gemini.session import COMPLETED, INTERRUPTED, Session, charge
from loadtest.simulators.gemini.setup import Compression, SessionSetup
from loadtest.simulators.gemini.usage import PRICES, usage_metadata
from loadtest.simulators.gemini.wire import Turn
from loadtest.simulators.invoice import Invoice
from loadtest.simulators.script import Interviewer, ReplyKind, Script

MODEL = "gemini-2.5-flash-native-audio-preview-12-2025"


def session(**setup: object) -> Session:
    built = Session(
        session_id="s",
        setup=SessionSetup(model=MODEL),
        interviewer=Interviewer(seed=1, script=Script()),
        started_at_s=0.0,
    )
    built.reconfigure(SessionSetup(model=MODEL, **{"instructions": "x" * 40, **setup}))  # type: ignore[arg-type]
    return built


def invoice() -> Invoice:
    return Invoice(session_id="s", model=MODEL, opened_at_s=0.0)


def test_every_generation_bills_the_whole_window_so_far() -> None:
    interview = session()
    interview.add_user_speech(duration_ms=2_000, voiced_ms=2_000)
    first = interview.begin("s/1")
    first.spoken_ms = 4_000
    interview.keep_output(first)
    interview.add_user_speech(duration_ms=1_000, voiced_ms=1_000)
    assert first.prompt == Tokens(text=10, audio=50)
    assert interview.begin("s/2").prompt == Tokens(text=10, audio=50 + 100 + 25)


def test_compression_is_done_before_the_bill() -> None:
    interview = session(compression=Compression(trigger=60, target=30))
    for _ in range(2):
        interview.add_user_speech(duration_ms=1_000, voiced_ms=1_000)
        interview.context = interview.context.add(Role.MODEL, audio_tokens(1_000))
    assert interview.begin("s/1").prompt == Tokens(text=10, audio=50)


def test_the_bill_is_exact_and_thoughts_are_text() -> None:
    bill, interview = invoice(), session()
    interview.add_user_speech(duration_ms=2_000, voiced_ms=2_000)
    generation = interview.begin("s/1")
    generation.spoken_ms, generation.thoughts = 4_000, 7
    charge(bill, generation, status=COMPLETED, usage_sent=False)
    # 10 text at $0.50, 50 audio at $3, 100 audio at $12, 7 thoughts at $2, a million.
    assert bill.total_pico_usd == 10 * 500_000 + 50 * 3_000_000 + 100 * 12_000_000 + 7 * 2_000_000


def test_a_generation_has_one_line_however_often_it_is_charged() -> None:
    bill, generation = invoice(), session().begin("s/1")
    charge(bill, generation, status=COMPLETED, usage_sent=False)
    charge(bill, generation, status=INTERRUPTED, usage_sent=True)
    (line,) = bill.responses
    assert (line.status, line.usage_sent) == (INTERRUPTED, True)


def test_usage_metadata_by_modality() -> None:
    prompt, output = Tokens(text=332, audio=165), Tokens(audio=42)
    assert usage_metadata(prompt, output, thoughts=136) == {
        "promptTokenCount": 497,
        "responseTokenCount": 42,
        "totalTokenCount": 539,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 332},
            {"modality": "AUDIO", "tokenCount": 165},
        ],
        "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 42}],
        "thoughtsTokenCount": 136,
    }


def test_empty_counts_are_left_out() -> None:
    metadata = usage_metadata(Tokens(text=1), Tokens(), 0)
    assert set(metadata) == {"promptTokenCount", "totalTokenCount", "promptTokensDetails"}


@pytest.mark.parametrize("model", sorted(PRICES))
def test_audio_costs_what_the_price_list_says_a_minute_does(model: str) -> None:
    minute = audio_tokens(60_000).audio * PRICES[model].audio_out
    assert minute == 18 * 10**9


def test_one_model_turn_without_an_answer_replaces_the_instructions() -> None:
    interview = session()
    interview.add_user_text("hello")
    interview.add_turns([Turn(role="model", text="be brief [closing]")], turn_complete=False)
    assert interview.prompt().instructions == "be brief [closing]"
    assert interview.all_instructions == "x" * 40 + "\nbe brief [closing]"


def test_a_first_model_turn_may_be_history_so_the_setups_instructions_count_on() -> None:
    interview = session(instructions="begin [closing]")
    interview.add_turns([Turn(role="model", text="welcome")], turn_complete=False)
    assert interview.instructions == "begin [closing]\nwelcome"


def test_history_neither_replaces_the_instructions_nor_is_greeted_again() -> None:
    interview = session()
    history = [Turn(role="model", text="welcome"), Turn(role="user", text="hello")]
    interview.add_turns(history, turn_complete=False)
    assert interview.prompt().instructions == "x" * 40
    assert interview.interviewer.reply(interview.prompt()).kind is ReplyKind.QUESTION


def test_instructions_of_a_complete_turn_count_once() -> None:
    interview = session()
    turns = [Turn(role="model", text="say [closing]"), Turn(role="user", text=".")]
    interview.add_turns(turns, turn_complete=True)
    assert "[closing]" in interview.prompt().response_instructions
    assert interview.prompt().response_instructions == ""


def test_a_snapshot_is_left_alone_by_later_turns() -> None:
    interview = session()
    saved = interview.snapshot()
    interview.add_user_speech(duration_ms=1_000, voiced_ms=1_000)
    assert saved.context.entries == ()
    assert saved.interviewer.turns_in_phase == 0
    assert saved.resumed(saved.setup).context == saved.context


def test_a_resumed_session_takes_the_new_setup() -> None:
    interview = session()
    interview.add_user_speech(duration_ms=1_000, voiced_ms=1_000)
    interview.add_turns([Turn(role="model", text="old update")], turn_complete=False)
    resumed = interview.resumed(SessionSetup(model=MODEL, instructions="new"))
    assert resumed.instructions == "new"
    assert resumed.context.preamble == Tokens(text=1)
    assert resumed.context.entries == interview.context.entries


def test_a_clip_is_whole_and_each_piece_encoded_once() -> None:
    frames = SpeechFrames(seed=1, takes=2, take_ms=1_000)
    clip = list(frames.clip(choice=3, duration_ms=1_350))
    assert [ms for _, ms in clip] == [200] * 6 + [100]
    again = list(frames.clip(choice=1, duration_ms=1_300))
    assert all(one is other for (one, _), (other, _) in zip(clip, again, strict=True))


def test_a_frame_holds_its_speech_at_24_khz() -> None:
    frame, ms = next(SpeechFrames(seed=1, takes=1, take_ms=400).clip(choice=0, duration_ms=200))
    (part,) = json.loads(frame)["serverContent"]["modelTurn"]["parts"]
    assert part["inlineData"]["mimeType"] == "audio/pcm;rate=24000"
    assert len(base64.b64decode(part["inlineData"]["data"])) == ms * 24 * 2
