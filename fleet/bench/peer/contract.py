"""The one interview that both arms hold, how participants behave in it, and the names that the
benchmark and the worker's processes know each other by. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agent_actor.contract import SessionConfig, dump_metadata, parse_strict

MARKER = "what people remember of their first day at school"
"""By which the simulator knows these interviews."""
PARTICIPANT = "participant"
AGENT_NAME_VARIABLE = "BENCH_PEER_AGENT_NAME"
"""What a livekit-agents worker is to register as."""
NOTES_VARIABLE = "BENCH_PEER_NOTES"
"""The file that its jobs note in what they have come to, a JSON line each."""
IDLE_VARIABLE = "BENCH_PEER_IDLE"
"""How many processes it keeps warm."""
UNBOUNDED_VARIABLE = "BENCH_PEER_UNBOUNDED"
"""Set: it takes jobs however busy the machine is."""
TURNS_PER_PHASE = 1000
"""The model is never through: nothing but the benchmark ends a session."""
PHASE_S = 1500.0
NOISE_DBFS = -60.0

SCRIPTS: Mapping[str, Mapping[str, Any]] = {
    "muted": {"name": "muted", "muted": True},
    "open": {"name": "open", "silent": True, "noise_dbfs": NOISE_DBFS},
    "talking": {
        "name": "talking",
        "think_s": [0.4, 0.9],
        "answer_s": [1.5, 2.5],
        "speaks_up_after_s": 4.0,
        "noise_dbfs": NOISE_DBFS,
    },
}


def request() -> dict[str, Any]:
    """The body of POST /v1/sessions."""
    return {
        "provider": "openai_realtime",
        "instructions": f"You are a friendly interviewer. You want to learn {MARKER}.",
        "study_id": "bench-peer",
        "vad_config": {"threshold": 0.5, "silence_duration_ms": 500, "prefix_padding_ms": 300},
        "phases": [
            {"id": "warmup", "name": "Warm-up", "duration_seconds": PHASE_S},
            {"id": "core", "name": "Core questions", "duration_seconds": PHASE_S},
        ],
        "budget_limit_usd": 1000.0,
        "session_timeout_seconds": 2 * PHASE_S,
        "no_show_seconds": 600,
        "participant": {"identity": PARTICIPANT},
    }


def metadata(resolve: Callable[[SessionConfig], SessionConfig]) -> str:
    """The same as it stands in a room: the fleet writes it there itself, the other arm's rooms
    get it from us. ``resolve`` settles the model as the fleet does.
    """
    contract = {name: value for name, value in request().items() if name != "participant"}
    config = resolve(parse_strict(contract))
    return dump_metadata(config.model_copy(update={"participant_identity": PARTICIPANT}))
