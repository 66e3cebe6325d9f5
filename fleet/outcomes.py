"""What a session's attempts tell its record. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agent_actor.messages import SessionResult, to_micro_usd
from fleet.records import RecordChanges


def learned(results: Sequence[SessionResult]) -> RecordChanges:
    """From the attempts that gave a result, in order. Money adds up over attempts; what
    describes the interview is the last one's."""
    if not results:
        return {}
    last = results[-1]
    usages = [r.usage for r in results if r.usage is not None]
    facts: RecordChanges = {
        "provider_sessions": tuple(dict.fromkeys(s for r in results for s in r.provider_sessions)),
        "unmapped": last.unmapped,
        "phases": last.phases,
        "timings_s": _timings(last),
    }
    if usages:
        facts["model"] = usages[-1].model
        facts["spent_micro_usd"] = to_micro_usd(sum(u.spent_pico_usd for u in usages))
    return facts


def _timings(result: SessionResult) -> dict[str, float]:
    timings = {"session": result.duration_s}
    if result.metadata_wait_s is not None:
        timings["metadata_wait"] = result.metadata_wait_s
    if result.first_audio_s is not None:
        timings["first_audio"] = result.first_audio_s
    return timings
