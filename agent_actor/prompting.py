"""What the model is told. Pure text; one place, so that a protocol reads the same everywhere.

Bracketed words such as ``[closing]`` mark what we want of the model beside the researcher's own
text; they are stable, so logs, tests and other interviewers can look for them.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent_actor.contract import Language, Phase, SessionConfig

ADVANCE_TOOL = "advance_phase"
END_TOOL = "end_interview"

CLOSING = "[closing] Thank the participant warmly in one or two sentences and say goodbye."
_LANGUAGES = {
    Language.EN: "English",
    Language.DE: "German",
    Language.FR: "French",
    Language.ES: "Spanish",
    Language.JA: "Japanese",
    Language.KO: "Korean",
}
WRAP_UP = (
    "[wrap-up] The interview must end soon. Bring the current topic to a close in your next "
    f"turn, then call {END_TOOL}."
)
WELCOME_BACK = "The participant lost the connection and is back. Welcome them back in one short "
WELCOME_BACK += "sentence and take up the question again."
NOT_ANSWERED = (
    "The participant is there but has not said anything yet; perhaps they could not hear you. "
    "Greet them in one short sentence, ask whether they hear you, then ask your question again."
)
CARRY_ON = (
    "Your connection was lost for a moment: your last words, or the participant's, did not get "
    "through. Apologise in a few words and take up the interview where it was."
)

INTERRUPTED = (
    "[carry on] You were cut off by a technical fault while it was your turn to speak. Carry on "
    "where you were, without greeting anew and without repeating what the participant has heard."
)
ASK_AGAIN = (
    "[carry on] The connection was lost for a moment while the participant had the word; what they "
    "said then may not have got through. Apologise in a few words and ask them to say it again."
)


def carry_on(cut_off: str) -> str:
    """For one that was lost in mid-sentence; ``cut_off`` is what of the sentence is known."""
    if not cut_off.strip():
        return INTERRUPTED
    return f'{INTERRUPTED} Your last words, not all of which were heard: "{cut_off.strip()}"'


def instructions_for(config: SessionConfig, index: int, *, note: str | None = None) -> str:
    """The whole instructions while phase ``index`` is on. ``note`` comes last, where models
    weigh it most."""
    parts = [config.instructions.strip(), _rules(config.phases), _current(config.phases, index)]
    if note:
        parts.append(note)
    return "\n\n".join(parts)


def entered(phases: Sequence[Phase], index: int) -> str:
    """The answer to the function call that moved the interview on."""
    phase = phases[index]
    suffix = f" {phase.prompt_suffix.strip()}" if phase.prompt_suffix.strip() else ""
    return f"Phase {phase.id!r} ({phase.name}) begins now.{suffix} Go on with it directly."


def opening(config: SessionConfig) -> str:
    """For the very first words."""
    return f"Greet the participant briefly and begin phase {config.phases[0].id!r}."


def closing_in(language: Language) -> str:
    """For a goodbye that is said without knowing what was spoken before."""
    return f"{CLOSING} You have interviewed them; the time is up. Speak {_LANGUAGES[language]}."


def moved_on(phases: Sequence[Phase], index: int) -> str:
    """The time limit has moved the interview on; the model did not ask for it."""
    return f"The time for the last phase is over. {entered(phases, index)}"


def time_note(remaining_s: float) -> str:
    return (
        f"[time] About {max(1, round(remaining_s))} seconds are left in this phase. "
        f"Finish it and call {ADVANCE_TOOL}."
    )


def _rules(phases: Sequence[Phase]) -> str:
    listed = "\n".join(
        f"{n}. {p.id} ({p.name}, at most {p.duration_seconds:g} s)"
        for n, p in enumerate(phases, start=1)
    )
    return (
        f"The interview has these phases, in this order:\n{listed}\n"
        f"When you are through with the current phase, call {ADVANCE_TOOL}. After the last phase "
        f"that ends the interview. Call {END_TOOL} only if the participant wants to stop. Never "
        "mention phases, tools or time limits to the participant. Silence can be thinking: give "
        "the participant time."
    )


def _current(phases: Sequence[Phase], index: int) -> str:
    phase = phases[index]
    head = f"Current phase: {phase.id} ({phase.name})."
    return f"{head}\n{phase.prompt_suffix.strip()}" if phase.prompt_suffix.strip() else head
