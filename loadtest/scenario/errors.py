"""What a scenario's interview can meet."""

from __future__ import annotations


class ScenarioError(Exception):
    """Base of all."""


class BadOptions(ScenarioError):
    """The options do not go together."""


class NotStarted(ScenarioError):
    """The fleet gave no session; `code` as its problem document has it, or the HTTP status."""

    def __init__(self, code: str) -> None:
        super().__init__(f"no session: {code}")
        self.code = code


class EndedOtherwise(ScenarioError):
    """The interview ended in another way than it was meant to."""


class NeverEnded(ScenarioError):
    """The session's record was not final long after its own time limit."""


class ParticipantsGone(ScenarioError):
    """The process of the participants has ended."""
