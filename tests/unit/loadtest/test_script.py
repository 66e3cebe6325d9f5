from __future__ import annotations

import json

import pytest

from loadtest.simulators.script import (
    Interviewer,
    Prompt,
    ReplyKind,
    Script,
    ScriptBook,
    Tool,
    arguments_for,
)

ADVANCE = Tool(
    name="advance_phase",
    parameters={"properties": {"reason": {"type": "string"}}, "required": ["reason"]},
)
END = Tool(name="end_interview")
BOTH = Prompt(tools=(ADVANCE, END))


def interviewer(seed: int = 1, **script: object) -> Interviewer:
    return Interviewer(seed=seed, script=Script(**script))  # type: ignore[arg-type]


def test_greets_once_and_then_asks() -> None:
    who = interviewer()
    assert [who.reply(Prompt()).kind for _ in range(3)] == [
        ReplyKind.GREETING,
        ReplyKind.QUESTION,
        ReplyKind.QUESTION,
    ]


def test_same_seed_says_the_same() -> None:
    first, again, other = (interviewer(seed) for seed in (4, 4, 5))
    said = [[who.reply(Prompt()) for _ in range(5)] for who in (first, again, other)]
    assert said[0] == said[1]
    assert said[0] != said[2]


def test_times_stay_in_their_ranges() -> None:
    who = interviewer(speech_s=(1.0, 2.0), ttfa_ms=(100.0, 120.0))
    for _ in range(50):
        reply = who.reply(Prompt())
        assert 1000 <= reply.speech_ms <= 2000
        assert 100 <= reply.ttfa_ms <= 120


def test_advances_after_enough_turns_and_speaks_on() -> None:
    who = interviewer(turns_per_phase=2)
    who.reply(BOTH)
    who.user_turn(900)
    assert who.reply(BOTH).tool is None
    who.user_turn(900)
    call = who.reply(BOTH)
    assert call.tool is not None
    assert call.tool.name == "advance_phase"
    assert set(json.loads(call.tool.arguments)) == {"reason"}
    assert who.phase == 1
    after = who.reply(Prompt(tools=(ADVANCE,), last_tool_output="next phase"))
    assert after.kind is ReplyKind.TRANSITION
    assert who.reply(BOTH).kind is ReplyKind.QUESTION


def test_short_noises_are_no_turns() -> None:
    who = interviewer(turns_per_phase=1)
    who.user_turn(299)
    assert who.reply(BOTH).tool is None


def test_without_the_tool_it_keeps_asking() -> None:
    who = interviewer(turns_per_phase=1)
    for _ in range(3):
        who.user_turn(1000)
        assert who.reply(Prompt(tools=(END,))).tool is None


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_acknowledgement_before_a_call(share: float) -> None:
    who = interviewer(turns_per_phase=1, acknowledge=share)
    who.user_turn(1000)
    reply = who.reply(BOTH)
    assert reply.tool is not None
    assert bool(reply.text) is bool(reply.speech_ms) is (share == 1.0)


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(instructions="Now say goodbye. [closing]", tools=(ADVANCE, END)),
        Prompt(response_instructions="[closing] Say goodbye.", tools=(ADVANCE, END)),
        Prompt(last_tool_output="That was the last phase. [closing]", tools=(ADVANCE, END)),
        Prompt(instructions="[wrap-up] and then [closing]", tools=(ADVANCE, END)),
    ],
)
def test_closing_means_goodbye_wherever_it_stands(prompt: Prompt) -> None:
    who = interviewer(turns_per_phase=1)
    who.user_turn(1000)
    reply = who.reply(prompt)
    assert reply.kind is ReplyKind.GOODBYE
    assert reply.tool is None
    assert reply.text


def test_wrap_up_says_a_remark_and_ends_once() -> None:
    who = interviewer()
    prompt = Prompt(instructions="Time is short. [wrap-up]", tools=(END,))
    first = who.reply(prompt)
    assert first.tool is not None
    assert (first.kind, first.tool.name) == (ReplyKind.WRAP_UP, "end_interview")
    assert first.text
    second = who.reply(prompt)
    assert (second.kind, second.tool) == (ReplyKind.GOODBYE, None)


def test_wrap_up_without_the_tool_is_only_said() -> None:
    reply = interviewer().reply(Prompt(instructions="[wrap-up]", tools=(ADVANCE,)))
    assert (reply.kind, reply.tool) == (ReplyKind.WRAP_UP, None)


def test_a_disobedient_interviewer_never_calls_nor_closes() -> None:
    who = interviewer(disobey=True, turns_per_phase=1)
    prompt = Prompt(instructions="[closing] [wrap-up]", tools=(ADVANCE, END), required_tool="")
    for _ in range(5):
        who.user_turn(1000)
        reply = who.reply(prompt)
        assert reply.tool is None
        assert reply.kind in (ReplyKind.GREETING, ReplyKind.QUESTION)


def test_a_demanded_tool_is_called() -> None:
    other = Tool(name="note", parameters={"properties": {}})
    for required, expected in (("note", "note"), ("", "advance_phase"), ("end_interview",) * 2):
        reply = interviewer().reply(Prompt(tools=(other, ADVANCE, END), required_tool=required))
        assert reply.tool is not None
        assert reply.tool.name == expected


def test_a_call_cut_off_is_made_again() -> None:
    who = interviewer(turns_per_phase=1)
    who.user_turn(1000)
    cut = who.reply(BOTH)
    who.user_turn(1000)
    who.take_back(cut)
    assert (who.phase, who.turns_in_phase) == (0, 2)
    again = who.reply(BOTH)
    assert again.tool is not None
    assert again.tool.name == "advance_phase"


def test_taking_back_a_sentence_changes_nothing() -> None:
    who = interviewer()
    who.user_turn(1000)
    who.take_back(who.reply(Prompt()))
    assert who.turns_in_phase == 1


def test_arguments_fit_the_schema() -> None:
    schema = {
        "required": ["level", "why", "count", "maybe", "done"],
        "properties": {
            "level": {"enum": ["low", "high"]},
            "why": {"type": "STRING"},
            "count": {"type": "integer"},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "number"}]},
            "done": {"type": "boolean", "default": False},
            "optional": {"type": "string"},
        },
    }
    made = arguments_for(schema)
    assert made["level"] == "low"
    assert isinstance(made["why"], str)
    assert (made["count"], made["maybe"], made["done"]) == (1, 1.0, False)
    assert "optional" not in made


def test_overrides_apply_where_they_match_later_over_earlier() -> None:
    book = ScriptBook(Script())
    book.add(match="study-1", changes={"turns_per_phase": 5, "speech_s": [1, 2]})
    book.add(match="study", changes={"turns_per_phase": 7})
    resolved = book.resolve("this is study-1")
    assert (resolved.turns_per_phase, resolved.speech_s) == (7, (1, 2))
    assert book.resolve("another") == book.default
    assert book.clear() == 2


@pytest.mark.parametrize(
    "changes", [{"volume": 3}, {"turns_per_phase": 0}, {"speech_s": [3, 1]}, {"acknowledge": 2}]
)
def test_bad_overrides_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ScriptBook(Script()).add(match="x", changes=changes)
