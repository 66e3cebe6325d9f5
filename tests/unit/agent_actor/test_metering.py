"""The meter against a provider that is simulated here, token by token, with every fault."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_actor.billing import ResponseUsage, TranscriptionUsage
from agent_actor.contract import SessionId
from agent_actor.messages import TokenCounts
from agent_actor.metering import Meter
from agent_actor.rates import UnpricedModels, load_rates
from agent_actor.wire_events import (
    AnswerDue,
    AudioDelta,
    ConnectionLost,
    ContextText,
    InstructionsSet,
    ResponseCreated,
    ResponseDone,
    ResponseEnded,
    ResponseRequested,
    TextDelta,
    TextSent,
    TranscriptionDone,
    UserAudio,
    UserSpeech,
    UserSpeechStarted,
    WireError,
    WireEvent,
)

TODAY = date(2026, 11, 23)
RATE = load_rates().rate_for("openai_realtime", "gpt-realtime", TODAY)
WHISPER = load_rates().transcription_rate_for("whisper-1", TODAY)
TRANSCRIBE = load_rates().transcription_rate_for("gpt-4o-transcribe", TODAY)
USAGE = ResponseUsage(
    input_tokens=1000,
    output_tokens=220,
    input_text=400,
    input_audio=600,
    cached_tokens=512,
    cached_text=256,
    cached_audio=256,
    output_text=20,
    output_audio=200,
)
COST = (
    144 * RATE.text_in
    + 344 * RATE.audio_in
    + 512 * RATE.text_cached
    + 20 * RATE.text_out
    + 200 * RATE.audio_out
)


def fed(*events: WireEvent, meter: Meter | None = None) -> Meter:
    meter = meter or Meter(rate=RATE)
    for event in events:
        meter.feed(event)
    return meter


def test_a_response_is_charged_what_its_usage_says() -> None:
    meter = fed(ResponseCreated(id="r"), ResponseDone(id="r", status="completed", usage=USAGE))
    assert meter.spent_pico == COST
    assert meter.tokens.input_total == 1000
    assert (meter.responses, meter.unpriced_responses) == (1, 0)
    assert meter.estimate_pico == meter.at_risk_pico == 0


@pytest.mark.parametrize("status", ["cancelled", "failed", "incomplete"])
def test_a_cancelled_or_failed_response_is_charged_too(status: str) -> None:
    meter = fed(ResponseCreated(id="r"), ResponseDone(id="r", status=status, usage=USAGE))
    assert meter.spent_pico == COST


def test_a_usage_nobody_saw_begin_is_charged() -> None:
    assert fed(ResponseDone(id="r", status="cancelled", usage=USAGE)).spent_pico == COST


def test_a_repeated_event_is_charged_once() -> None:
    done = ResponseDone(id="r", status="completed", usage=USAGE)
    meter = fed(ResponseCreated(id="r"), done, done, ResponseCreated(id="r"))
    assert meter.spent_pico == COST
    assert meter.at_risk_pico == 0


def test_feed_tells_when_money_moved() -> None:
    meter = Meter(rate=RATE)
    assert not meter.feed(UserAudio(ms=20))
    assert meter.feed(ResponseCreated(id="r"))
    assert not meter.feed(AudioDelta(ms=20, id="r"))
    assert meter.feed(ResponseDone(id="r", status="completed", usage=USAGE))
    assert not meter.feed(ConnectionLost())


def test_without_usage_a_response_costs_its_upper_bound() -> None:
    meter = fed(
        InstructionsSet(utf8_bytes=1000),
        UserAudio(ms=10_000),
        ResponseCreated(id="r", max_output_tokens=500),
        ResponseDone(id="r", status="failed", usage=None),
    )
    assert meter.unpriced_responses == 1
    bound = 1016 * RATE.text_in + 100 * RATE.audio_in + 500 * RATE.audio_out
    assert meter.spent_pico == bound
    assert meter.tokens.output_audio == 500


def test_a_lost_connection_charges_what_was_under_way() -> None:
    meter = fed(ResponseCreated(id="r"), AudioDelta(ms=100, id="r"))
    at_risk = meter.at_risk_pico
    assert at_risk > meter.estimate_pico > 0
    assert meter.feed(ConnectionLost())
    assert meter.spent_pico == at_risk
    assert meter.at_risk_pico == meter.estimate_pico == 0
    assert meter.unpriced_responses == 1


def at_risk(meter: Meter) -> int:
    return meter.report(session_id=SessionId("s"), attempt=1, now=0.0).at_risk_pico_usd


def test_an_answer_that_may_have_begun_is_reported_at_its_worst() -> None:
    """Nobody could report it any more if the actor died before its first word."""
    meter = fed(UserAudio(ms=3_000))
    assert meter.feed(AnswerDue(due=True))
    assert at_risk(meter) == meter.worst_response_pico() > 0
    assert not meter.feed(AnswerDue(due=True)), "it was told before"
    assert not meter.feed(AnswerDue(due=False))
    assert at_risk(meter) == 0


def test_an_answer_that_has_begun_is_at_risk_once() -> None:
    meter = fed(UserAudio(ms=3_000), AnswerDue(due=True), ResponseCreated(id="r"))
    assert at_risk(meter) == meter.at_risk_pico
    fed(ResponseDone(id="r", status="completed", usage=USAGE), meter=meter)
    assert at_risk(meter) == 0


def test_an_answer_that_only_may_have_begun_is_nothing_that_the_session_goes_by() -> None:
    meter = fed(UserAudio(ms=3_000), AnswerDue(due=True))
    assert meter.at_risk_pico == 0
    assert not meter.responding
    meter.feed(ConnectionLost())
    assert meter.spent_pico == at_risk(meter) == 0


def test_a_request_that_was_never_seen_to_begin_is_charged_on_loss() -> None:
    meter = fed(ResponseRequested(), ConnectionLost())
    assert meter.unpriced_responses == 1
    meter = fed(ResponseRequested(), ResponseCreated(id="r"))
    meter.feed(ResponseDone(id="r", status="completed", usage=USAGE))
    meter.feed(ConnectionLost())
    assert meter.unpriced_responses == 0


def test_a_request_that_was_refused_is_not_charged() -> None:
    refused = WireError(code="conversation_already_has_active_response", type=None)
    meter = fed(ResponseRequested(), refused, refused, ConnectionLost())
    assert meter.spent_pico == 0
    other = WireError(code="session_expired", type=None)
    assert fed(ResponseRequested(), other, ConnectionLost()).spent_pico > 0


def test_usage_may_follow_the_end_of_a_response() -> None:
    meter = fed(ResponseCreated(id="g1"), ResponseEnded(id="g1", status="completed"))
    assert meter.spent_pico == 0
    assert meter.at_risk_pico > 0
    meter.feed(ResponseDone(id="g1", status="completed", usage=USAGE))
    assert meter.spent_pico == COST
    assert meter.unpriced_responses == 0


def test_usage_that_never_follows_is_bounded_when_the_next_response_begins() -> None:
    meter = fed(
        ResponseCreated(id="g1"),
        ResponseEnded(id="g1", status="completed"),
        ResponseCreated(id="g2"),
    )
    assert meter.unpriced_responses == 1
    assert meter.spent_pico > 0


def test_the_estimate_moves_with_the_audio_received() -> None:
    meter = fed(ResponseDone(id="r0", status="completed", usage=USAGE), ResponseCreated(id="r"))
    before = meter.estimate_pico
    meter.feed(AudioDelta(ms=1000, id="r"))
    meter.feed(TextDelta(utf8_bytes=40))
    assert meter.estimate_pico - before == 20 * RATE.audio_out + 10 * RATE.text_out
    assert meter.estimate_pico <= meter.at_risk_pico


def test_the_next_response_bills_the_whole_conversation_again() -> None:
    meter = fed(ResponseDone(id="r", status="completed", usage=USAGE))
    meter.feed(UserAudio(ms=60_000))
    meter.feed(TextSent(utf8_bytes=100))
    meter.feed(ContextText(utf8_bytes=50))
    text, audio = 400 + 20 + 150 + 2 * 16, 600 + 200 + 600
    bound = text * RATE.text_in + audio * RATE.audio_in
    assert meter.worst_response_pico(100) == bound + 100 * RATE.audio_out
    assert meter.worst_response_pico() == bound + 4096 * RATE.audio_out
    assert meter.goodbye_pico == meter.alone_pico(120) < meter.worst_response_pico(120)
    whole = fed(
        ResponseDone(id="r", status="completed", usage=USAGE),
        meter=Meter(rate=RATE, can_be_alone=False),
    )
    assert whole.goodbye_pico == whole.worst_response_pico(120)


def test_twelve_minutes_each_way_cost_what_the_design_says() -> None:
    """21,600 audio tokens, about $0.86 uncached at the preview's prices."""
    preview = load_rates().rate_for("openai_realtime", "gpt-4o-realtime-preview", date(2026, 2, 1))
    usage = ResponseUsage(
        input_tokens=21_600, input_text=0, input_audio=21_600, output_text=0, output_audio=0
    )
    meter = fed(ResponseDone(id="r", status="completed", usage=usage), meter=Meter(rate=preview))
    assert meter.spent_pico == 864_000 * 10**6


def test_the_bound_never_exceeds_the_models_window() -> None:
    meter = fed(UserAudio(ms=10 * 3_600_000), TextSent(utf8_bytes=10**6))
    most = RATE.context_tokens * RATE.audio_in
    assert meter.worst_response_pico(0) == most


def test_replacing_instructions_only_adds_what_grew() -> None:
    meter = fed(InstructionsSet(utf8_bytes=500), InstructionsSet(utf8_bytes=300))
    first = meter.worst_response_pico(0)
    meter.feed(InstructionsSet(utf8_bytes=400))
    assert meter.worst_response_pico(0) - first == 100 * RATE.text_in


def test_the_output_cap_that_money_still_buys() -> None:
    meter = fed(ResponseDone(id="r", status="completed", usage=USAGE))
    for tokens in (0, 1, 300, 4096):
        price = meter.worst_response_pico(tokens)
        assert meter.affordable_output_tokens(price) == tokens
        assert meter.affordable_output_tokens(price - 1) == max(tokens - 1, 0)
    assert meter.affordable_output_tokens(10**15) == 4096


def test_the_sessions_cap_bounds_a_response_without_usage() -> None:
    meter = Meter(rate=RATE, max_output_tokens=1000)
    meter.feed(ResponseCreated(id="r"))
    assert meter.at_risk_pico == 16 * RATE.text_in + 1000 * RATE.audio_out
    meter = Meter(rate=RATE)
    assert meter.worst_response_pico() > meter.at_risk_pico


def test_what_was_said_during_a_response_is_in_the_next_one() -> None:
    meter = fed(UserAudio(ms=30_000), ResponseCreated(id="r"), UserAudio(ms=10_000))
    meter.feed(TextSent(utf8_bytes=70))
    meter.feed(ResponseDone(id="r", status="completed", usage=USAGE))
    audio = 800 + 120  # ten seconds, and two of margin
    text = 420 + 70 + 2 * 16
    assert meter.worst_response_pico(0) == audio * RATE.audio_in + text * RATE.text_in


def test_a_turn_begun_before_the_response_is_in_the_next_one() -> None:
    meter = fed(UserAudio(ms=30_000), UserSpeechStarted(), UserAudio(ms=20_000))
    meter.feed(ResponseCreated(id="r"))
    meter.feed(ResponseDone(id="r", status="completed", usage=USAGE))
    assert meter.worst_response_pico(0) >= (800 + 200) * RATE.audio_in


def test_transcription_by_duration_and_by_tokens() -> None:
    meter = Meter(rate=RATE, transcription=WHISPER)
    meter.feed(UserSpeech(ms=1500))
    done = TranscriptionDone(item_id="i", usage=TranscriptionUsage(duration_ms=2000))
    assert meter.feed(done)
    assert meter.spent_pico == meter.transcription_pico == 2 * 10**8
    meter = Meter(rate=RATE, transcription=TRANSCRIBE)
    usage = TranscriptionUsage(input_tokens=20, output_tokens=10, input_text=2, input_audio=18)
    meter.feed(TranscriptionDone(item_id="i", usage=usage))
    assert meter.spent_pico == 18 * 6_000_000 + 2 * 2_500_000 + 10 * 10_000_000


def test_transcription_without_details_is_all_audio() -> None:
    meter = Meter(rate=RATE, transcription=TRANSCRIBE)
    meter.feed(TranscriptionDone(item_id="i", usage=TranscriptionUsage(input_tokens=20)))
    assert meter.spent_pico == 20 * 6_000_000


def test_transcription_that_is_never_stated_is_bounded() -> None:
    meter = Meter(rate=RATE, transcription=WHISPER)
    meter.feed(UserSpeech(ms=60_000))
    meter.feed(UserSpeech(ms=30_000))
    meter.feed(TranscriptionDone(item_id="i", usage=None))
    assert meter.spent_pico == 6 * 10**9
    meter.feed(ConnectionLost())
    assert meter.spent_pico == 9 * 10**9
    assert meter.unpriced_transcriptions == 2


def test_reports_are_cumulative_and_numbered() -> None:
    meter = fed(ResponseDone(id="r", status="completed", usage=USAGE), ResponseCreated(id="s"))
    first = meter.report(session_id=SessionId("s1"), attempt=2, now=10.0)
    second = meter.report(session_id=SessionId("s1"), attempt=2, now=11.0)
    assert (first.seq, second.seq) == (1, 2)
    assert first.spent_pico_usd == second.spent_pico_usd == COST
    assert first.model == "gpt-realtime-2025-08-28"
    assert first.at_risk_pico_usd == meter.at_risk_pico > 0
    assert first.goodbye_pico_usd == meter.goodbye_pico
    assert first.tokens == meter.tokens


def test_a_final_report_leaves_nothing_open() -> None:
    meter = fed(ResponseCreated(id="r"))
    at_risk = meter.at_risk_pico
    report = meter.report(session_id=SessionId("s1"), attempt=1, now=1.0, final=True)
    assert report.final
    assert report.spent_pico_usd == at_risk
    assert (report.estimate_pico_usd, report.at_risk_pico_usd) == (0, 0)


# A provider, simulated: it keeps the conversation, bills it for every response, and sometimes
# does not say so.

Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["speak", "text", "respond", "cancel", "no_usage", "lose", "repeat"]),
        st.integers(0, 40_000),
        st.integers(0, 4096),
    ),
    max_size=30,
)


@dataclass
class Provider:
    """What it bills is ``invoice``; the part that it stated is ``stated``."""

    text: int = 20
    audio: int = 0
    invoice: int = 0
    stated: int = 0
    responses: int = 0
    events: list[WireEvent] = field(default_factory=list)

    def step(self, step: Step) -> list[WireEvent]:
        kind, amount, output = step
        if kind == "speak":
            self.audio += amount // 100
            return [UserSpeechStarted(), UserAudio(ms=amount), UserSpeech(ms=amount)]
        if kind == "text":
            self.text += amount % 300
            return [TextSent(utf8_bytes=amount % 300)]
        return self.respond(kind, min(amount, self.audio), output)

    def respond(self, kind: str, cached: int, output: int) -> list[WireEvent]:
        self.responses += 1
        id_ = f"r{self.responses}"
        audio = min(self.audio, RATE.context_tokens)
        text = min(self.text, RATE.context_tokens - audio)
        tokens = TokenCounts(
            input_text=text,
            input_audio=audio,
            cached_audio=min(cached, audio),
            output_audio=output,
        )
        price = RATE.price(tokens)
        self.invoice += price
        self.audio, self.text = audio + output, text
        began: list[WireEvent] = [ResponseCreated(id=id_), AudioDelta(ms=output * 50 / 2, id=id_)]
        if kind == "lose":
            return [*began, ConnectionLost()]
        if kind == "no_usage":
            return [*began, ResponseDone(id=id_, status="failed", usage=None)]
        self.stated += price
        usage = ResponseUsage(
            input_tokens=tokens.input_total,
            output_tokens=output,
            input_text=text,
            input_audio=audio,
            cached_tokens=tokens.cached_audio,
            cached_text=0,
            cached_audio=tokens.cached_audio,
            output_text=0,
            output_audio=output,
        )
        status = "cancelled" if kind == "cancel" else "completed"
        done = ResponseDone(id=id_, status=status, usage=usage)
        return [*began, done, done] if kind == "repeat" else [*began, done]


@given(steps)
def test_never_below_the_invoice_and_exact_where_usage_was_sent(script: list[Step]) -> None:
    provider, meter = Provider(), Meter(rate=RATE)
    meter.feed(InstructionsSet(utf8_bytes=20))
    spent = unpriced = 0
    for step in script:
        worst = 0
        for event in provider.step(step):
            if isinstance(event, ResponseCreated):
                worst = meter.worst_response_pico()
            meter.feed(event)
            assert meter.spent_pico >= spent, "spent fell"
            assert meter.estimate_pico <= meter.at_risk_pico
            spent = meter.spent_pico
        assert meter.spent_pico >= provider.invoice
        unpriced += step[0] in ("no_usage", "lose")
        if worst:
            assert meter.at_risk_pico == 0
    assert meter.unpriced_responses == unpriced
    assert meter.responses == provider.responses
    if not unpriced:
        assert meter.spent_pico == provider.invoice == provider.stated


@given(steps)
def test_a_reservation_of_the_worst_case_always_covers_the_bill(script: list[Step]) -> None:
    provider, meter = Provider(), Meter(rate=RATE)
    meter.feed(InstructionsSet(utf8_bytes=20))
    for step in script:
        reserved, before = meter.worst_response_pico(), provider.invoice
        for event in provider.step(step):
            meter.feed(event)
        if step[0] not in ("speak", "text"):
            assert provider.invoice - before <= reserved


def test_responses_of_a_model_without_a_rate_are_counted() -> None:
    table = load_rates(unpriced=UnpricedModels.UPPER_BOUND)
    meter = Meter(rate=table.rate_for("openai_realtime", "gpt-realtime-9", TODAY))
    meter.feed(ResponseCreated(id="r1"))
    usage = ResponseUsage(input_tokens=10, output_tokens=5, input_text=10, output_text=5)
    meter.feed(ResponseDone(id="r1", status="completed", usage=usage))
    assert (meter.responses, meter.unpriced_responses) == (1, 1)
