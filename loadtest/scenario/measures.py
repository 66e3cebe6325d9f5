"""A real participant's lines -> measures, as Locust counts them. Pure.

| name | from | to |
|---|---|---|
| time to join | the request for the session | in the room, microphone published |
| time to first audio | the request for the session | the interviewer's first audible sample |
| response after turn | the participant's last sample | the interviewer's first |
| stops when interrupted | the participant cuts in | the interviewer's last sample |
| spoken over | (a count) the participant's answer | the interviewer speaks into it |
| gap in the speech | (longest of an interview) | |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TO_JOIN = "time to join"
TO_FIRST_AUDIO = "time to first audio"
RESPONSE = "response after turn"
STOPS = "stops when interrupted"
SPOKEN_OVER = "spoken over"
GAP = "gap in the speech"


@dataclass(frozen=True, kw_only=True)
class Measure:
    name: str
    ms: float
    failure: str | None = None


def measures_of(line: Mapping[str, Any], *, head_start_s: float) -> Iterator[Measure]:
    """`head_start_s`: from the request for the session to the participant's own start."""

    def since_asked(name: str) -> Measure:
        return Measure(name=name, ms=(line["t_s"] + head_start_s) * 1000)

    match line.get("event"):
        case "joined":
            yield since_asked(TO_JOIN)
        case "agent_speech_started":
            if line.get("first"):
                yield since_asked(TO_FIRST_AUDIO)
            if line.get("response_s") is not None:
                yield Measure(name=RESPONSE, ms=line["response_s"] * 1000)
        case "interrupted":
            if line.get("stopped_after_s") is not None:
                yield Measure(name=STOPS, ms=line["stopped_after_s"] * 1000)
        case "spoken_over":
            yield Measure(name=SPOKEN_OVER, ms=line.get("into_answer_s", 0.0) * 1000)
        case "failed":
            yield Measure(name=TO_JOIN, ms=0.0, failure=str(line.get("error", "failed")))
        case "summary":
            yield Measure(name=GAP, ms=line["heard"]["longest_gap_ms"])
            if line.get("outcome") == "connection_lost":
                yield Measure(name=TO_JOIN, ms=0.0, failure="connection lost")
