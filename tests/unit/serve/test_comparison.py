from __future__ import annotations

from agent_actor.contract import EndReason, SessionState
from fleet.records import SessionRecord
from serve.feeds.comparison import compare
from tests.unit.serve.fakes import NOW, record


def ended(n: int, provider: str, reason: EndReason, *, minutes: float = 10) -> SessionRecord:
    return record(
        f"s-{provider}-{n}",
        provider=provider,
        state=SessionState.GONE,
        end_reason=reason,
        first_joined_at=NOW,
        ended_at=NOW + minutes * 60,
        spent_micro_usd=500_000,
        timings_s={"first_audio": 0.5 + n / 10},
    )


def test_providers_stand_side_by_side() -> None:
    openai = [
        ended(1, "openai_realtime", EndReason.COMPLETED),
        ended(2, "openai_realtime", EndReason.COMPLETED, minutes=30),
        ended(3, "openai_realtime", EndReason.PARTICIPANT_LEFT),
        ended(4, "openai_realtime", EndReason.NO_SHOW, minutes=1),
    ]
    under_way = record("s-9", provider="gemini_live", state=SessionState.LIVE)
    gemini, found = compare([under_way, *openai])
    assert (found.ended, found.no_shows, found.completed) == (4, 1, 2)
    assert found.completion == 0.6667
    # 1.50 dollars in 50 minutes: whoever nobody came to is left out.
    assert found.micro_usd_per_minute == 30_000
    assert (found.first_audio_p50_ms, found.first_audio_p95_ms) == (700.0, 800.0)
    assert (gemini.provider, gemini.ended, gemini.completion) == ("gemini_live", 0, None)
    assert gemini.micro_usd_per_minute is None


def test_a_session_that_never_got_an_agent_counts_as_ended_but_not_as_time() -> None:
    failed = record(
        state=SessionState.GONE, end_reason=EndReason.ROOM_FAILED, ended_at=NOW, spent_micro_usd=0
    )
    (found,) = compare([failed])
    assert (found.ended, found.completed, found.completion) == (1, 0, 0.0)
    assert (found.interview_s, found.first_audio_p50_ms) == (0.0, None)
