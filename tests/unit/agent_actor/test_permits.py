from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from agent_actor.billing import ResponseUsage
from agent_actor.messages import PICO_PER_MICRO, Allowance, PicoUsd
from agent_actor.metering import Meter
from agent_actor.permits import (
    Permit,
    PermitPolicy,
    goodbye_permit,
    may_hear,
    server_may_begin,
    turn_permit,
)
from agent_actor.purse import Purse
from agent_actor.rates import load_rates
from agent_actor.wire_events import (
    ConnectionLost,
    ContextLimit,
    InstructionsSet,
    ResponseCreated,
    ResponseDone,
    ResponseRequested,
    TurnTaking,
    UserAudio,
    UserTurn,
    WireError,
)

POLICY = PermitPolicy()
RATES = load_rates()
OPENAI = RATES.rate_for("openai_realtime", None, date(2026, 11, 23))
GEMINI = RATES.rate_for("gemini_live", None, date(2026, 11, 23))
SESSION = "s-1"


def openai_meter(*, audio: int = 10_000, **options: Any) -> Meter:
    """With so much audio in its conversation."""
    meter = Meter(rate=OPENAI, max_output_tokens=2_400, **options)
    meter.feed(InstructionsSet(utf8_bytes=800))
    usage = ResponseUsage(
        input_tokens=audio + 200, input_text=200, input_audio=audio, output_text=0, output_audio=0
    )
    meter.feed(ResponseDone(id="before", status="completed", usage=usage))
    return meter


def gemini_meter() -> Meter:
    return Meter(
        rate=GEMINI,
        max_output_tokens=3_000,
        goodbye_output_tokens=None,
        can_be_alone=False,
        thinks_beside=True,
    )


def cost(meter: Meter, permit: Permit) -> PicoUsd:
    """The most that a response under this permit can be billed."""
    if permit.alone:
        return meter.alone_pico(permit.max_output_tokens)
    return meter.worst_response_pico(permit.max_output_tokens, limit_tokens=permit.context_tokens)


def purse(meter: Meter, up_to: int, *, capped: bool = True, **changes: Any) -> Purse:
    allowance = Allowance(
        session_id=SESSION,  # type: ignore[arg-type]
        up_to_micro_usd=up_to,
        limit_micro_usd=10**9,
        expires_at=1e12,
        **changes,
    )
    return Purse(meter, allowance, capped=capped)


# --- the bounds themselves


@pytest.mark.parametrize("left_usd", [0.0, 0.005, 0.01, 0.02, 0.04, 0.1, 0.2, 0.35, 0.4, 0.6, 5.0])
@pytest.mark.parametrize("audio", [0, 300, 2_000, 10_000, 30_000])
def test_no_permit_costs_more_than_what_is_left(left_usd: float, audio: int) -> None:
    meter = openai_meter(audio=audio)
    meter.feed(UserAudio(ms=5_000))
    left = round(left_usd * 10**12)
    for permit in (turn_permit(POLICY, meter, left), goodbye_permit(POLICY, meter, left)):
        if permit is not None:
            assert cost(meter, permit) <= left
            assert permit.max_output_tokens is not None
            assert permit.max_output_tokens >= 1


def test_plenty_left_is_the_whole_conversation() -> None:
    permit = turn_permit(POLICY, openai_meter(), 10**12)
    assert permit == Permit(max_output_tokens=2_400)


def test_a_dear_conversation_is_cut_rather_than_the_answer() -> None:
    meter = openai_meter(audio=20_000)
    left = meter.worst_response_pico(POLICY.least_tokens) // 2
    permit = turn_permit(POLICY, meter, left)
    assert permit is not None
    assert permit.context_tokens is not None
    assert POLICY.least_context_tokens <= permit.context_tokens < 20_000
    assert (permit.max_output_tokens or 0) >= POLICY.ample_tokens


def test_a_short_conversation_gets_a_shorter_answer_instead() -> None:
    meter = openai_meter(audio=200)
    left = meter.worst_response_pico(POLICY.least_tokens + 10)
    permit = turn_permit(POLICY, meter, left)
    assert permit == Permit(max_output_tokens=POLICY.least_tokens + 10)


def test_what_no_answer_can_be_had_for_gets_no_permit() -> None:
    meter = openai_meter(audio=200)
    assert turn_permit(POLICY, meter, meter.worst_response_pico(POLICY.least_tokens) - 1) is None


def test_the_goodbye_goes_by_the_conversation_while_it_can() -> None:
    meter = openai_meter()
    whole = goodbye_permit(POLICY, meter, meter.worst_response_pico(POLICY.ample_goodbye_tokens))
    assert whole == Permit(max_output_tokens=POLICY.ample_goodbye_tokens)
    alone = goodbye_permit(POLICY, meter, meter.goodbye_pico)
    assert alone == Permit(max_output_tokens=POLICY.ample_goodbye_tokens, alone=True)
    least = meter.alone_pico(POLICY.least_goodbye_tokens)
    assert goodbye_permit(POLICY, meter, least - 1) is None


def test_a_model_that_thinks_beside_its_answer_is_bounded_with_its_thoughts() -> None:
    meter = gemini_meter()
    thoughts = GEMINI.max_output_tokens - 3_000
    output = 3_000 * GEMINI.audio_out + thoughts * GEMINI.text_out
    assert meter.worst_response_pico() >= output
    assert meter.affordable_output_tokens(output - 1) == 0


# --- who begins


def test_the_server_may_begin_while_two_worst_cases_are_covered() -> None:
    meter = openai_meter()
    worst = meter.worst_response_pico(more_audio_ms=POLICY.more_audio_ms)
    assert server_may_begin(POLICY, meter, 2 * worst, may_now=True)
    assert not server_may_begin(POLICY, meter, 2 * worst - 1, may_now=True)
    assert not server_may_begin(POLICY, meter, 3 * worst - 1, may_now=False)
    assert server_may_begin(POLICY, meter, 3 * worst, may_now=False)
    assert not server_may_begin(POLICY, meter, 3 * worst - 1, may_now=True, asking=True)


def test_the_purse_switches_to_permits_and_back() -> None:
    meter = openai_meter()
    held = purse(meter, 10_000_000)
    assert held.take_turns() is None
    held.allowance = purse(meter, 500_000).allowance
    assert held.take_turns() is False
    assert held.take_turns() is None
    held.confirmed(server_begins=False)
    assert held.must_answer
    held.allowance = purse(meter, 10_000_000).allowance
    assert held.take_turns() is True
    assert held.must_answer, "until the server has heard of it, it answers nothing by itself"


def test_until_the_server_has_heard_one_of_its_own_responses_is_kept_for() -> None:
    meter = openai_meter()
    worst = meter.worst_response_pico()
    held = purse(meter, (meter.spent_pico + worst + 10**9) // PICO_PER_MICRO)
    assert held.take_turns() is False
    unsure = held.permit()
    held.confirmed(server_begins=False)
    sure = held.permit()
    assert unsure is None
    assert sure is not None


def test_asking_counts_what_the_server_may_begin_meanwhile() -> None:
    meter = openai_meter()
    worst = meter.worst_response_pico(more_audio_ms=POLICY.more_audio_ms)
    held = purse(meter, (meter.spent_pico + 2 * worst) // PICO_PER_MICRO + 1)
    assert held.take_turns() is None
    assert held.take_turns(asking=True) is False


def test_a_goodbye_may_use_the_reserve_and_nothing_else_may() -> None:
    meter = openai_meter()
    spent = -(-meter.spent_pico // PICO_PER_MICRO)
    goodbye = -(-meter.goodbye_pico // PICO_PER_MICRO)
    held = purse(meter, spent, goodbye_micro_usd=goodbye)
    held.take_turns()
    held.confirmed(server_begins=False)
    assert held.permit() is None
    assert held.short
    held.closing = True
    assert held.goodbye_fits
    assert held.permit() == Permit(max_output_tokens=POLICY.ample_goodbye_tokens, alone=True)


def test_more_money_eases_what_was_short() -> None:
    meter = openai_meter()
    held = purse(meter, 1)
    held.take_turns()
    held.confirmed(server_begins=False)
    assert held.permit() is None
    held.allowance = purse(meter, 10_000_000).allowance
    assert held.ease()
    assert not held.short


# --- the uplink


def test_audio_is_kept_back_once_the_turn_it_may_complete_is_too_dear() -> None:
    meter = gemini_meter()
    worst = meter.worst_response_pico(more_audio_ms=50)
    assert may_hear(meter, worst, 50)
    assert not may_hear(meter, worst - 1, 50)
    held = purse(meter, worst // PICO_PER_MICRO, capped=False)
    assert not held.may_hear(60_000)
    assert held.short
    held.allowance = purse(meter, 10**7).allowance
    assert held.ease()
    assert held.may_hear(60_000)


def test_nothing_is_heard_once_only_the_goodbye_is_paid_for() -> None:
    held = purse(gemini_meter(), 10**7, capped=False)
    held.closing = True
    assert not held.may_hear(50)


def test_a_capped_provider_hears_everything() -> None:
    assert purse(openai_meter(), 0).may_hear(60_000)


# --- what the meter makes of it


def test_a_response_without_the_conversation_leaves_the_conversation_as_it_is() -> None:
    meter = openai_meter(audio=10_000)
    before = meter.worst_response_pico(100)
    meter.feed(ResponseRequested(id="e", max_output_tokens=120, alone=True))
    assert meter.at_risk_pico == meter.alone_pico(120)
    meter.feed(ResponseCreated(id="r", max_output_tokens=120, request="e"))
    assert meter.at_risk_pico == meter.alone_pico(120)
    usage = ResponseUsage(input_tokens=40, input_text=40, output_tokens=60, output_audio=60)
    meter.feed(ResponseDone(id="r", status="completed", usage=usage))
    assert meter.at_risk_pico == 0
    assert meter.worst_response_pico(100) == before


def test_a_request_is_at_risk_under_its_own_cap() -> None:
    meter = openai_meter()
    meter.feed(ResponseRequested(id="e", max_output_tokens=300))
    assert meter.at_risk_pico == meter.worst_response_pico(300)
    meter.feed(ResponseCreated(id="other"))
    assert meter.at_risk_pico == meter.worst_response_pico(300) + meter.worst_response_pico()
    meter.feed(ResponseCreated(id="mine", max_output_tokens=300, request="e"))
    assert meter.at_risk_pico == meter.worst_response_pico(300) + meter.worst_response_pico()


def test_a_refused_request_is_at_risk_no_more() -> None:
    meter = openai_meter()
    meter.feed(ResponseRequested(id="a"))
    meter.feed(ResponseRequested(id="b"))
    meter.feed(WireError(code="invalid_value", type=None, event_id="b"))
    assert meter.at_risk_pico == meter.worst_response_pico()
    assert meter.responding


def test_a_cut_that_the_provider_keeps_bounds_what_follows() -> None:
    meter = openai_meter(audio=20_000)
    meter.feed(ContextLimit(tokens=1_000))
    assert meter.worst_response_pico(100) == meter.worst_response_pico(100, limit_tokens=1_000)
    meter.feed(ContextLimit(tokens=None))
    assert meter.worst_response_pico(100) > meter.worst_response_pico(100, limit_tokens=1_000)


def test_a_turn_that_the_server_is_about_to_answer_is_at_risk() -> None:
    meter = openai_meter()
    meter.feed(UserTurn())
    assert meter.at_risk_pico == meter.worst_response_pico()
    meter.feed(ResponseCreated(id="r"))
    assert meter.at_risk_pico == meter.worst_response_pico()
    lost = openai_meter()
    lost.feed(UserTurn())
    before = lost.spent_pico
    lost.feed(ConnectionLost())
    assert lost.spent_pico > before
    assert lost.unpriced_responses == 1


def test_a_turn_that_the_server_must_not_answer_is_not_at_risk() -> None:
    meter = openai_meter()
    meter.feed(TurnTaking(by_server=False))
    meter.feed(UserTurn())
    assert meter.at_risk_pico == 0


def test_a_minute_costs_at_most_six_responses_to_all_that_can_be_said_in_it() -> None:
    meter = openai_meter(audio=3_000)
    said = 60 * (OPENAI.user_audio_tokens_per_s + OPENAI.agent_audio_tokens_per_s)
    input_now = meter.worst_response_pico(1) - OPENAI.audio_out
    six = 6 * (input_now + said * OPENAI.audio_in)
    talk = 60 * OPENAI.agent_audio_tokens_per_s * OPENAI.audio_out
    assert meter.worst_minute_pico() == six + talk


def test_a_minute_of_a_model_that_thinks_beside_counts_its_thoughts() -> None:
    talk = 60 * GEMINI.agent_audio_tokens_per_s
    thoughts = (GEMINI.max_output_tokens - talk) * GEMINI.text_out
    assert gemini_meter().worst_minute_pico() >= talk * GEMINI.audio_out + thoughts
