"""Sessions that run out of money, on the simulators' wire: judged by the simulators' invoices."""

from __future__ import annotations

import pytest

from agent_actor.contract import EndReason
from agent_actor.journal import EventKind
from agent_actor.messages import PICO_PER_MICRO, to_micro_usd
from fleet.local.simulators import Simulator
from tests.integration.rehearsals import Rehearsed, rehearsal_contract, rehearse

CAREFUL = {"max_response_s": 20}
"""Small limits are near their end from the beginning, and the tests short."""
BRIEF = {"speech_s": [0.6, 1.2], "ttfa_ms": [20, 60], "turns_per_phase": 10_000}
DEAF = {**BRIEF, "disobey": True}
"""An interviewer that does not hear that it should come to an end."""


def check(session: Rehearsed) -> None:
    """What holds for every session that ended for money."""
    assert session.result.end_reason is EndReason.BUDGET_EXCEEDED, session.result
    assert session.result.error is None
    assert session.billed_pico_usd <= session.cost.limit_micro_usd * PICO_PER_MICRO
    assert session.cost.spent_micro_usd == to_micro_usd(session.billed_pico_usd)
    assert session.cost.unpriced_responses == 0


def turn_taking(session: Rehearsed) -> list[str]:
    return [data["turns"] for data in session.journal.seen(EventKind.BUDGET) if "turns" in data]


async def test_openai_told_to_wrap_up_says_goodbye_within_its_limit(
    openai_simulator: Simulator,
) -> None:
    # Between being told and the end there must be money for two responses that find nothing cached.
    metadata = rehearsal_contract("openai_realtime", budget_limit_usd=0.7)
    session = await rehearse(openai_simulator, metadata, script=BRIEF, settings=CAREFUL)
    check(session)
    assert session.journal.seen(EventKind.BUDGET, verdict="wrap_up")
    assert session.journal.seen(EventKind.TOOL, name="end_interview")
    assert turn_taking(session)[-1] == "permit"


async def test_openai_that_does_not_wrap_up_is_bounded_response_by_response(
    openai_simulator: Simulator,
) -> None:
    metadata = rehearsal_contract("openai_realtime", budget_limit_usd=0.4)
    session = await rehearse(openai_simulator, metadata, script=DEAF, settings=CAREFUL)
    check(session)
    assert session.left_share < 0.12
    assert session.responses[-1]["usage"]["output_audio"] < 120, "a goodbye"
    assert session.journal.seen(EventKind.TURN)[-1]["speaker"] == "interviewer"


async def test_the_server_answers_by_itself_while_there_is_plenty(
    openai_simulator: Simulator,
) -> None:
    metadata = rehearsal_contract(
        "openai_realtime",
        budget_limit_usd=50,
        reconnect_grace_seconds=0,
        rehearsal={"leaves_after_s": 4},
    )
    session = await rehearse(openai_simulator, metadata, script=BRIEF)
    assert session.result.end_reason is EndReason.PARTICIPANT_LEFT
    assert turn_taking(session) == []
    assert len(session.responses) > 3


async def test_a_long_conversation_is_cut_when_it_alone_would_be_too_dear(
    openai_simulator: Simulator,
) -> None:
    """Turns of most of a minute: soon the whole conversation costs more than what is left."""
    metadata = rehearsal_contract(
        "openai_realtime", budget_limit_usd=0.6, rehearsal={"speed": 25, "speech_s": [45, 55]}
    )
    session = await rehearse(openai_simulator, metadata, script=DEAF, settings=CAREFUL)
    check(session)
    *turns, _goodbye = [r["usage"]["input_audio"] for r in session.responses]
    assert turns[-1] < max(turns)
    assert session.left_share < 0.15


async def test_gemini_hears_nothing_that_could_not_be_paid_for(
    gemini_simulator: Simulator,
) -> None:
    metadata = rehearsal_contract("gemini_live", budget_limit_usd=0.15, padding=24_000)
    session = await rehearse(gemini_simulator, metadata, script=DEAF, settings=CAREFUL)
    check(session)
    assert len(session.responses) > 3


@pytest.mark.parametrize("provider", ["openai_realtime", "gemini_live"])
async def test_a_limit_too_small_for_a_word_costs_nothing(
    provider: str, openai_simulator: Simulator, gemini_simulator: Simulator
) -> None:
    simulator = openai_simulator if provider == "openai_realtime" else gemini_simulator
    metadata = rehearsal_contract(provider, budget_limit_usd=0.001)
    session = await rehearse(simulator, metadata, script=BRIEF)
    check(session)
    assert session.billed_pico_usd == 0


async def test_a_response_that_is_lost_with_its_connection_stays_within_the_limit(
    openai_simulator: Simulator,
) -> None:
    metadata = rehearsal_contract("openai_realtime", budget_limit_usd=0.4)
    session = await rehearse(
        openai_simulator, metadata, script=DEAF, settings=CAREFUL, fault="drop_mid_response"
    )
    assert session.result.end_reason is EndReason.BUDGET_EXCEEDED
    assert session.cost.unpriced_responses == 1
    assert session.billed_pico_usd <= session.cost.spent_micro_usd * PICO_PER_MICRO
    assert session.cost.spent_micro_usd <= session.cost.limit_micro_usd
