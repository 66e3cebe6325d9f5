"""What participants heard and what was paid, judged. Pure: the times are epoch seconds."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent_actor.contract import EndReason, Provider
from agent_actor.messages import PICO_PER_MICRO, to_micro_usd
from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, at_most, exactly, only_shown
from fleet.local.told import Told

DISTURBED = frozenset({"rejoined", "reconnecting", "failed"})
"""What a participant tells only when its own connection is not well."""


class Word(StrEnum):
    """Who has it, by the participant's ears."""

    INTERVIEWER = "interviewer"
    PARTICIPANT = "participant"
    NOBODY = "nobody"


_WORDS = {
    "agent_speech_started": Word.INTERVIEWER,
    "agent_speech_ended": Word.NOBODY,
    "speaking": Word.PARTICIPANT,
    "answered": Word.NOBODY,
}


_QUIET = frozenset({"agent_speech_ended", "answered"})


def word(told: Iterable[Told]) -> Word:
    """Who has it after all that was ``told``. An interviewer that has just stopped is known to have
    stopped only after a while."""
    last = Word.NOBODY
    for each in told:
        last = _WORDS.get(each.name, last)
    return last


def times_of(told: Iterable[Told], name: str, *, after: float = 0.0) -> list[float]:
    return [each.at for each in told if each.name == name and each.at > after]


def silence_s(told: Iterable[Told], since: float) -> float | None:
    """Until the interviewer was heard (again); None: it was not."""
    began = times_of(told, "agent_speech_started", after=since)
    return min(began) - since if began else None


def wait_s(told: Sequence[Told], since: float) -> float | None:
    """How long the participant waited for the first words that the interviewer began after
    ``since``: from the end of its own turn, or of the interviewer's words before. None: none came.
    """
    began = times_of(told, "agent_speech_started", after=since)
    if not began:
        return None
    quiet = [t.at for t in told if t.name in _QUIET and t.at <= min(began)]
    return min(began) - max(quiet, default=since)


def answers(told: Iterable[Told]) -> list[tuple[float, float]]:
    """Each time that the interviewer was heard after the participant had said something: when, and
    how long the participant had waited for it. Words that it begins unasked are none: before these
    it is silent on purpose."""
    found: list[tuple[float, float]] = []
    since: float | None = None
    for each in told:
        if each.name == "answered":
            since = each.at
        elif each.name == "speaking":
            since = None
        elif each.name == "agent_speech_started" and since is not None:
            found.append((each.at, each.at - since))
            since = None
    return found


def unanswered(told: Iterable[Told]) -> int:
    """Turns of the participant's after which it had to speak again before the interviewer did."""
    lost, waiting = 0, False
    for each in told:
        if each.name == "speaking":
            lost += waiting
        if each.name in ("answered", "agent_speech_started"):
            waiting = each.name == "answered"
    return lost


def spoken_over(told: Sequence[Told], since: float) -> bool:
    """Whether the interviewer was heard between ``since``, when the participant had the word, and
    the end of what the participant then said."""
    answered = times_of(told, "answered", after=since)
    heard = times_of(told, "agent_speech_started", after=since)
    return bool(heard) and (not answered or min(heard) < min(answered))


def disturbances(told: Iterable[Told]) -> list[str]:
    """What its own connection went through."""
    return [each.name for each in told if each.name in DISTURBED]


def waits_s(told: Iterable[Told]) -> list[float]:
    """From the end of each of the participant's answers to the interviewer's next word."""
    found = [each.detail.get("response_s") for each in told if each.name == "agent_speech_started"]
    return [float(wait_s) for wait_s in found if wait_s is not None]


@dataclass(frozen=True, kw_only=True)
class Course:
    """How one interview went, from its beginning to its end. ``money`` None: it did not end."""

    session_id: str
    provider: Provider
    end_reason: EndReason | None
    attempts: int
    phases: Sequence[str]
    wanted: Sequence[str]
    disturbances: Sequence[str]
    waits_s: Sequence[float]
    unanswered: int
    """Turns of the participant's that got no answer, and so are none of the waits."""
    money: Money | None

    @property
    def is_through(self) -> bool:
        """All its phases, each once and in order, to the goodbye."""
        completed = self.end_reason is EndReason.COMPLETED
        return completed and list(self.phases) == list(self.wanted)


@dataclass(frozen=True, kw_only=True)
class Money:
    """One interview's, after its end. ``untold``: the most that it is charged beyond what it was
    billed: what its lost attempts had at risk when they last reported, and the bounds of responses
    that were asked for and whose usage the provider never told, as when they were cut off before
    they began."""

    ledger_micro_usd: int
    invoice_pico_usd: int
    untold_pico_usd: int

    @property
    def lost_micro_usd(self) -> int:
        """Billed, and not in the ledger."""
        return max(0, to_micro_usd(self.invoice_pico_usd) - self.ledger_micro_usd)

    @property
    def beyond_micro_usd(self) -> int:
        """In the ledger, though neither billed nor a bound."""
        most = self.invoice_pico_usd + self.untold_pico_usd
        return max(0, self.ledger_micro_usd - to_micro_usd(most))

    @property
    def bounded_micro_usd(self) -> int:
        """In the ledger beyond the invoice."""
        return max(0, self.ledger_micro_usd - self.invoice_pico_usd // PICO_PER_MICRO)


def of_courses(courses: Sequence[Course], *, own_connection: bool = True) -> Iterator[Bar]:
    """The bars that every fault has to hold which interviews are to outlive. ``own_connection``: a
    participant's is not to be touched either."""
    through = sum(course.is_through for course in courses)
    name = "interviews that went through all their phases to the end"
    detail = f"{len(courses)} interviews; {_endings(courses)}"
    yield exactly(name, percent(through, len(courses)), 100, "%", detail)
    disturbed = [course.disturbances for course in courses if course.disturbances]
    detail = ", ".join(sorted({each for one in disturbed for each in one}))
    name = "participants whose own connection was disturbed"
    if own_connection:
        yield exactly(name, len(disturbed), 0, "", detail)
    yield from of_money([course.money for course in courses if course.money is not None])


def of_waits(courses: Sequence[Course], most_s: float) -> Iterator[Bar]:
    """Whether the participants were made to wait."""
    waits = [wait_s for course in courses for wait_s in course.waits_s]
    detail = f"{len(waits)} answers"
    if waits:
        detail += f"; median {statistics.median(waits):.2f} s, p95 {percentile(waits, 0.95):.2f} s"
    yield at_most("longest wait for an answer", max(waits, default=None), most_s, "s", detail)
    lost = sum(course.unanswered for course in courses)
    yield exactly("turns of participants that got no answer", lost, 0, "")


def left_out(refused: Sequence[str], unseen: Sequence[str]) -> Iterator[Bar]:
    """Interviews that could not be begun, and those of which it could not be found out how they
    went, are among no others."""
    yield exactly("dispatches that failed for good", len(refused), 0, "", _briefly(refused))
    name = "interviews that could not be followed to their end"
    yield exactly(name, len(unseen), 0, "", _briefly(unseen))


def broken_off(problems: Sequence[str]) -> Bar:
    """Trials that came to nothing by what is no fault of the fleet's, or may be."""
    return exactly("trials broken off", len(problems), 0, "", _briefly(problems))


def _briefly(problems: Sequence[str]) -> str:
    return "; ".join(sorted(set(problems)))[:200]


def percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _endings(courses: Sequence[Course]) -> str:
    counted = Counter(str(course.end_reason) for course in courses)
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counted.items()))


def of_money(money: Sequence[Money]) -> Iterator[Bar]:
    """The bars that every fault has to hold."""
    n = f"{len(money)} interviews"
    lost = [m.lost_micro_usd for m in money if m.lost_micro_usd]
    yield exactly("ledgers below the invoice", len(lost), 0, "", f"{n}; {sum(lost)} µ$")
    beyond = [m.beyond_micro_usd for m in money if m.beyond_micro_usd]
    name = "ledgers above the invoice and the bounds of what was never told"
    yield exactly(name, len(beyond), 0, "", f"{n}; {sum(beyond)} µ$")
    bounded = sum(m.bounded_micro_usd for m in money)
    billed = to_micro_usd(sum(m.invoice_pico_usd for m in money))
    yield only_shown("booked beyond the invoices", bounded, "µ$", f"of {billed} µ$ billed")
