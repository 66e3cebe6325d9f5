"""A session's state and its bill, which outlive one connection; pure."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from loadtest.simulators.gemini.context import (
    ContextWindow,
    Role,
    Tokens,
    audio_tokens,
    text_tokens,
)
from loadtest.simulators.gemini.setup import SessionSetup
from loadtest.simulators.gemini.usage import PRICES, billed, usage_metadata
from loadtest.simulators.gemini.wire import Turn
from loadtest.simulators.invoice import Invoice, ResponseLine, TokenUsage, tokens_pico_usd
from loadtest.simulators.script import Interviewer, Prompt

COMPLETED, INTERRUPTED, FAILED = "completed", "interrupted", "failed"


@dataclass(kw_only=True)
class Generation:
    """One run of the model: what it was given and what it has put out so far."""

    response_id: str
    prompt: Tokens
    thoughts: int = 0
    spoken_ms: int = 0
    written: Tokens = field(default_factory=Tokens)
    """Text and function calls."""
    line: int | None = None
    """Its place on the invoice, once it is there."""
    settled: bool = False
    """Whether the message that carries its usage has had its turn, with or without it."""

    @property
    def output(self) -> Tokens:
        return audio_tokens(self.spoken_ms) + self.written

    @property
    def billed(self) -> TokenUsage:
        return billed(self.prompt, self.output, self.thoughts)

    @property
    def metadata(self) -> dict[str, object]:
        return usage_metadata(self.prompt, self.output, self.thoughts)


@dataclass(kw_only=True)
class Session:
    """`started_at_s` is when its first connection opened, on the same clock as every `now_s`."""

    session_id: str
    setup: SessionSetup
    interviewer: Interviewer
    started_at_s: float
    context: ContextWindow = field(default_factory=ContextWindow)
    update: str = ""
    """Instructions given after the setup; they count instead of the setup's."""
    response_instructions: str = ""
    last_tool_output: str | None = None

    @property
    def instructions(self) -> str:
        return self.update or self.setup.instructions

    @property
    def all_instructions(self) -> str:
        """What tests match a session by."""
        return f"{self.setup.instructions}\n{self.update}"

    def snapshot(self) -> Session:
        """A copy that later turns leave alone."""
        return replace(self, interviewer=copy.deepcopy(self.interviewer))

    def resumed(self, setup: SessionSetup) -> Session:
        """Carried on by another connection, whose setup replaces the preamble."""
        session = self.snapshot()
        session.reconfigure(setup)
        return session

    def reconfigure(self, setup: SessionSetup) -> None:
        if setup.instructions != self.setup.instructions:
            self.update = ""
        self.setup = setup
        tools = Tokens(text=-(-setup.tools_json_chars // 4))
        self.context = ContextWindow(
            preamble=text_tokens(setup.instructions) + tools, entries=self.context.entries
        )

    def add_turns(self, turns: Sequence[Turn], *, turn_complete: bool) -> None:
        """clientContent.

        One model turn that asks for no answer is how the client changes instructions in
        mid-session; before anything else was said it may be history as well, so the setup's
        count on beside it. With a complete turn it is an instruction for this answer alone.
        Several turns are the history of an earlier connection.
        """
        first = not self.context.entries
        for turn in turns:
            role = Role.MODEL if turn.role == "model" else Role.USER
            self.context = self.context.add(role, text_tokens(turn.text))
        if turn_complete:
            self.response_instructions = "\n".join(turn.text for turn in turns)
        elif len(turns) == 1 and turns[0].role == "model":
            kept = f"{self.setup.instructions}\n" if first else ""
            self.update = kept + turns[0].text
        elif any(turn.role == "model" for turn in turns):
            self.interviewer.carry_on()

    def add_user_speech(self, *, duration_ms: int, voiced_ms: int) -> None:
        self.context = self.context.add(Role.USER, audio_tokens(duration_ms))
        self.interviewer.user_turn(voiced_ms)

    def add_user_text(self, text: str) -> None:
        self.context = self.context.add(Role.USER, text_tokens(text))

    def add_tool_output(self, text: str) -> None:
        self.last_tool_output = text
        self.context = self.context.add(Role.MODEL, text_tokens(text))

    def begin(self, response_id: str) -> Generation:
        """Compress if that is due, then bill the whole window as input."""
        self.context = self.context.compressed(self.setup.compression)
        return Generation(response_id=response_id, prompt=self.context.tokens)

    def prompt(self) -> Prompt:
        """What the interviewer goes by; what was meant for one answer is used up."""
        prompt = Prompt(
            instructions=self.instructions,
            response_instructions=self.response_instructions,
            tools=self.setup.tools,
            last_tool_output=self.last_tool_output,
        )
        self.response_instructions = ""
        self.last_tool_output = None
        return prompt

    def keep_output(self, generation: Generation) -> None:
        """What was sent before the end, or the interruption, stays in the context."""
        self.context = self.context.add(Role.MODEL, generation.output)


def charge(invoice: Invoice, generation: Generation, *, status: str, usage_sent: bool) -> None:
    """Put the generation on the invoice, or correct its line there."""
    usage = generation.billed
    line = ResponseLine(
        response_id=generation.response_id,
        status=status,
        usage=usage,
        usage_sent=usage_sent,
        pico_usd=tokens_pico_usd(usage, PRICES[invoice.model]),
    )
    if generation.line is None:
        generation.line = len(invoice.responses)
        invoice.responses.append(line)
    else:
        invoice.responses[generation.line] = line
