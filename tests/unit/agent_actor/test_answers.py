from __future__ import annotations

from agent_actor.answers import LOST, MOST_SILENCES, Answer, Answers
from agent_actor.billing import ResponseUsage
from agent_actor.messages import TokenCounts
from agent_actor.wire_events import (
    AudioDelta,
    ConnectionLost,
    ResponseCreated,
    ResponseDone,
    ResponseEnded,
    UserSpeechStarted,
    UserTurn,
    WireEvent,
)

NOTHING = TokenCounts()
BILLED = TokenCounts(input_audio=10, output_audio=5)
USAGE = ResponseUsage(input_tokens=10, output_tokens=5)


def feed(answers: Answers, *events: tuple[float, WireEvent]) -> list[Answer]:
    over: list[Answer] = []
    for at, event in events:
        billed = isinstance(event, ResponseDone)
        over += answers.feed(
            event, at, tokens=BILLED if billed else NOTHING, spent_pico_usd=7 if billed else 0
        )
    return over


def test_an_answer_to_a_turn() -> None:
    answers = Answers()
    (answer,) = feed(
        answers,
        (10.0, UserTurn()),
        (10.5, ResponseCreated(id="r")),
        (11.25, AudioDelta(ms=20, id="r")),
        (11.5, AudioDelta(ms=20, id="r")),
        (12.0, ResponseDone(id="r", status="completed", usage=USAGE)),
    )
    assert (answer.began_at, answer.ended_at, answer.status) == (10.5, 12.0, "completed")
    assert (answer.first_audio_s, answer.silence_s) == (0.75, 1.25)
    assert (answer.tokens, answer.spent_pico_usd, answer.priced) == (BILLED, 7, True)
    assert not answer.cancelled
    assert answers.silences_s == [1.25]


def test_a_silence_goes_on_through_responses_that_say_nothing() -> None:
    answers = Answers()
    silent, heard = feed(
        answers,
        (10.0, UserTurn()),
        (10.5, ResponseCreated(id="tool")),
        (11.0, ResponseDone(id="tool", status="completed", usage=USAGE)),
        (11.5, ResponseCreated(id="r")),
        (13.0, AudioDelta(ms=20, id="r")),
        (14.0, ResponseDone(id="r", status="cancelled", usage=USAGE)),
    )
    assert (silent.first_audio_s, silent.silence_s) == (None, None)
    assert (heard.silence_s, heard.cancelled) == (3.0, True)


def test_who_speaks_on_was_not_left_in_silence() -> None:
    answers = Answers()
    feed(
        answers,
        (10.0, UserTurn()),
        (11.0, UserSpeechStarted()),
        (20.0, UserTurn()),
        (20.5, ResponseCreated(id="r")),
        (21.0, AudioDelta(ms=20, id="r")),
    )
    assert answers.silences_s == [1.0]


def test_usage_that_follows_does_not_make_the_answer_longer() -> None:
    (answer,) = feed(
        Answers(),
        (10.0, ResponseCreated(id="r")),
        (10.5, AudioDelta(ms=20)),
        (12.0, ResponseEnded(id="r", status="completed")),
        (15.0, ResponseDone(id="r", status="completed", usage=None)),
    )
    assert (answer.first_audio_s, answer.ended_at, answer.priced) == (0.5, 12.0, False)


def test_what_a_connection_takes_along_is_lost() -> None:
    answers = Answers()
    first, second = feed(
        answers,
        (10.0, ResponseCreated(id="a")),
        (10.0, ResponseCreated(id="b")),
        (11.0, ConnectionLost()),
    )
    assert {first.id, second.id} == {"a", "b"}
    assert {first.status, second.status} == {LOST}
    assert answers.close(12.0) == []


def test_one_whose_beginning_was_not_told_is_told_all_the_same() -> None:
    (answer,) = feed(Answers(), (10.0, ResponseDone(id="r", status="failed", usage=USAGE)))
    assert (answer.began_at, answer.ended_at) == (10.0, 10.0)


def test_a_session_does_not_carry_silences_without_end() -> None:
    answers = Answers()
    for n in range(MOST_SILENCES + 5):
        feed(
            answers,
            (n, UserTurn()),
            (n, ResponseCreated(id=str(n))),
            (n + 0.5, AudioDelta(ms=20, id=str(n))),
        )
    assert len(answers.silences_s) == MOST_SILENCES
