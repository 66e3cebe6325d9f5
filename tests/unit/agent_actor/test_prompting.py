from __future__ import annotations

import json

from agent_actor import prompting
from agent_actor.contract import SessionConfig, parse_tolerant

CONFIG: SessionConfig = parse_tolerant(
    json.dumps(
        {
            "provider": "openai_realtime",
            "instructions": "  Ask about parks.\n",
            "phases": [
                {"id": "one", "name": "Warm-up", "duration_seconds": 90},
                {"id": "two", "name": "Core", "duration_seconds": 1800, "prompt_suffix": " Dig. "},
            ],
        }
    )
)


def test_instructions_begin_with_the_researcher_s_words_and_end_with_the_note() -> None:
    text = prompting.instructions_for(CONFIG, 0, note="[time] Hurry.")
    assert text.startswith("Ask about parks.\n\n")
    assert text.endswith("\n\n[time] Hurry.")


def test_instructions_name_every_phase_but_only_one_as_current() -> None:
    text = prompting.instructions_for(CONFIG, 0)
    assert "1. one (Warm-up, at most 90 s)\n2. two (Core, at most 1800 s)" in text
    assert text.count("Current phase:") == 1
    assert text.endswith("Current phase: one (Warm-up).")


def test_suffix_belongs_to_its_phase_alone() -> None:
    assert "Dig." not in prompting.instructions_for(CONFIG, 0)
    assert prompting.instructions_for(CONFIG, 1).endswith("Current phase: two (Core).\nDig.")
    assert prompting.entered(CONFIG.phases, 1) == (
        "Phase 'two' (Core) begins now. Dig. Go on with it directly."
    )
    assert prompting.entered(CONFIG.phases, 0) == (
        "Phase 'one' (Warm-up) begins now. Go on with it directly."
    )


def test_model_is_told_which_tools_move_the_interview() -> None:
    text = prompting.instructions_for(CONFIG, 0)
    assert prompting.ADVANCE_TOOL in text
    assert prompting.END_TOOL in text
    assert prompting.END_TOOL in prompting.WRAP_UP


def test_opening_and_forced_change_say_where_to_go() -> None:
    assert "'one'" in prompting.opening(CONFIG)
    assert prompting.moved_on(CONFIG.phases, 1).endswith(prompting.entered(CONFIG.phases, 1))


def test_time_left_is_told_in_whole_seconds_and_never_as_none() -> None:
    assert "About 18 seconds" in prompting.time_note(17.6)
    assert "About 1 seconds" in prompting.time_note(0.2)


def test_marks_are_where_others_look_for_them() -> None:
    assert prompting.CLOSING.startswith("[closing]")
    assert prompting.WRAP_UP.startswith("[wrap-up]")
    assert prompting.time_note(5).startswith("[time]")
    # Neither may be taken for the order to close.
    for text in (prompting.CARRY_ON, prompting.WELCOME_BACK, prompting.opening(CONFIG)):
        assert "[" not in text
