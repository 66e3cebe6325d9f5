"""What a session's next actor needs to carry on where this one was lost. Pure.

Three texts: the *state* (who is there, which phase, who had the word), written again at every
change and every few seconds; what was *said*, written only when somebody has said more; and the
*contract*, once, so that a successor need not wait for the room, which may have forgotten it.
Times are ages in seconds, so that a successor on another node can go by its own clocks; only the
moment of writing is an epoch time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from agent_actor import phases
from agent_actor.contract import EndReason, SessionId
from agent_actor.dialogue import Said
from agent_actor.lifecycle import LifeAges, Stage
from agent_actor.phases import PhaseState

VERSION = 1
STATE_FIELD, SAID_FIELD, CONTRACT_FIELD = "state", "said", "contract"


def checkpoint_key(namespace: str, session_id: SessionId) -> str:
    """A hash with the three texts."""
    return f"{namespace}:checkpoint:{session_id}"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    attempt: int
    at: float
    """Epoch seconds, by the writer's clock."""
    life: LifeAges
    interview_s: float | None
    """On the interview's own clock; None: it has not begun."""
    phases: PhaseState = field(default_factory=PhaseState)
    speaking: str | None = None
    """"interviewer", "participant" or None."""
    last_speaker: str | None = None
    """Who was the last to begin to speak."""
    answer_due: bool = False
    """A response was under way, or asked for."""
    cut_off: str = ""
    """What of the interviewer's sentence under way was known."""
    said: tuple[Said, ...] = ()
    """What was said before it, oldest first."""
    contract: str = ""
    """As the room's metadata had it. "": it is still to be read there."""
    fallen_over: bool = False
    """The contract's first provider was given up: its fallback is to be used."""
    first_comer: str | None = None
    """Who is interviewed, by the room's name for them, where that is whoever came first."""

    def aged(self, now: float) -> Checkpoint:
        """As it is at ``now`` (epoch): time went on while nobody was there. A clock that is behind
        the writer's turns nothing back."""
        gap_s = max(0.0, now - self.at)
        interview_s = None if self.interview_s is None else self.interview_s + gap_s
        return replace(
            self, at=max(now, self.at), life=self.life.aged(gap_s), interview_s=interview_s
        )

    def texts(self, said: str) -> dict[str, str]:
        """What is written, by its field. ``said``: the second text, which its keeper has ready."""
        return {
            STATE_FIELD: self.state_text(),
            SAID_FIELD: said,
            CONTRACT_FIELD: self.contract,
        }

    def state_text(self) -> str:
        state = {
            "v": VERSION,
            "attempt": self.attempt,
            "at": self.at,
            "life": asdict(self.life),
            "interview_s": self.interview_s,
            "phases": phases.to_json(self.phases),
            "speaking": self.speaking,
            "last_speaker": self.last_speaker,
            "answer_due": self.answer_due,
            "cut_off": self.cut_off,
            "fallen_over": self.fallen_over,
            "first_comer": self.first_comer,
        }
        return json.dumps(state, ensure_ascii=False, separators=(",", ":"))


class Resumption(StrEnum):
    """What a successor does first."""

    CARRY_ON = "carry_on"
    """The interviewer was speaking, or about to: it goes on at once."""
    ASK_AGAIN = "ask_again"
    """The participant had the word: what it said may be lost, so it is asked again if it waits."""
    LISTEN = "listen"
    """The participant has been asked, and thinks."""


def resumption(checkpoint: Checkpoint) -> Resumption:
    if checkpoint.speaking == "participant":
        return Resumption.ASK_AGAIN
    if checkpoint.speaking == "interviewer" or checkpoint.answer_due:
        return Resumption.CARRY_ON
    if checkpoint.last_speaker == "interviewer":
        return Resumption.LISTEN
    return Resumption.ASK_AGAIN


def from_fields(fields: Mapping[str, str]) -> Checkpoint | None:
    """None where there is none, or none that this version can read: better anew than wrong."""
    if STATE_FIELD not in fields:
        return None
    try:
        state = json.loads(fields[STATE_FIELD])
        left = _read(state, json.loads(fields.get(SAID_FIELD, "[]")))
        return replace(left, contract=fields.get(CONTRACT_FIELD, ""))
    except (KeyError, TypeError, ValueError):
        return None


def _read(state: dict[str, Any], said: list[dict[str, Any]]) -> Checkpoint:
    if state["v"] != VERSION:
        raise ValueError("another version's checkpoint")
    life = state["life"]
    interview_s = state["interview_s"]
    return Checkpoint(
        attempt=int(state["attempt"]),
        at=float(state["at"]),
        life=LifeAges(
            **{
                **life,
                "stage": Stage(life["stage"]),
                "reason": EndReason(life["reason"]) if life["reason"] else None,
            }
        ),
        interview_s=None if interview_s is None else float(interview_s),
        phases=phases.from_json(state["phases"]),
        speaking=state["speaking"],
        last_speaker=state["last_speaker"],
        answer_due=bool(state["answer_due"]),
        cut_off=str(state["cut_off"]),
        fallen_over=bool(state.get("fallen_over", False)),
        first_comer=state.get("first_comer"),
        said=tuple(Said(**one) for one in said),
    )
