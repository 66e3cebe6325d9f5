"""Whether a session can pay for one more response, and in which bounds. Pure.

A provider bills a response when it is created, so its price is reserved before: the whole
conversation at uncached rates and all that it may say. While the allowance covers that twice
over, the server may begin responses by its own turn detection. When it no longer does, each is
asked for under a permit: with a cap on what it may say, with the conversation cut where it would
be too dear, and in the end only the goodbye, without any conversation.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent_actor.metering import GOODBYE_OUTPUT_TOKENS, Meter


@dataclass(frozen=True, kw_only=True)
class Permit:
    """Bounds of one response. None: those of the session."""

    max_output_tokens: int | None = None
    context_tokens: int | None = None
    """The conversation is to be cut to so many tokens before, instructions apart."""
    alone: bool = False
    """Without the conversation, by its own instructions only."""


@dataclass(frozen=True, kw_only=True)
class PermitPolicy:
    """``*_tokens`` are output tokens where nothing else is said; 20 are a second of OpenAI
    speech, 25 of Gemini's."""

    server_responses: int = 2
    """Worst cases that must be covered while the server begins responses: one that we have not
    heard of yet, and one that it begins before it has heard that it no longer may."""
    return_responses: int = 3
    """Worst cases that must be covered before it may begin them again."""
    more_audio_ms: float = 10_000
    """So much more may be said by then."""
    ample_tokens: int = 400
    """A turn under a cap below this is rather asked for with a shorter conversation."""
    least_tokens: int = 120
    """Below this a turn is not worth beginning: then it is time for the goodbye."""
    least_context_tokens: int = 600
    """Less than the last half minute is no conversation."""
    kept_permille: int = 700
    """When it must be cut, the conversation is cut to this part of what could be paid for, so
    that the next turns do not cut it again, and lose the provider's cache with it, each time."""
    ample_goodbye_tokens: int = GOODBYE_OUTPUT_TOKENS
    """What is saved for. Where more can be paid for, more may be said, up to …"""
    longest_goodbye_tokens: int = 600
    least_goodbye_tokens: int = 40


def server_may_begin(
    policy: PermitPolicy, meter: Meter, left_pico: int, *, may_now: bool, asking: bool = False
) -> bool:
    """``left_pico``: of the allowance, after what is spent and at risk. ``asking``: we are about
    to ask for one ourselves.
    """
    worst = meter.worst_response_pico(more_audio_ms=policy.more_audio_ms)
    speech = meter.transcription_bound_pico(policy.more_audio_ms)
    covered = policy.server_responses if may_now else policy.return_responses
    return left_pico >= (covered + asking) * (worst + speech)


def may_hear(meter: Meter, left_pico: int, more_ms: float) -> bool:
    """Whether the turn that so much more audio may complete can be paid for."""
    return left_pico >= meter.worst_response_pico(more_audio_ms=more_ms)


def turn_permit(policy: PermitPolicy, meter: Meter, left_pico: int) -> Permit | None:
    """For the answer to a turn; None: it cannot be paid for."""
    whole = meter.affordable_output_tokens(left_pico)
    if whole >= policy.ample_tokens:
        return Permit(max_output_tokens=whole)
    cut = meter.affordable_context_tokens(left_pico, policy.ample_tokens)
    if cut >= policy.least_context_tokens:
        kept = max(cut * policy.kept_permille // 1000, policy.least_context_tokens)
        if fits := meter.affordable_output_tokens(left_pico, limit_tokens=kept):
            return Permit(max_output_tokens=fits, context_tokens=kept)
    return Permit(max_output_tokens=whole) if whole >= policy.least_tokens else None


def goodbye_permit(policy: PermitPolicy, meter: Meter, left_pico: int) -> Permit | None:
    """``left_pico`` with the goodbye's reserve in it. None: there will be no goodbye."""
    whole = meter.affordable_output_tokens(left_pico)
    if whole >= policy.ample_goodbye_tokens:
        return Permit(max_output_tokens=min(whole, policy.longest_goodbye_tokens))
    alone = meter.affordable_alone_tokens(left_pico)
    if alone >= policy.least_goodbye_tokens:
        return Permit(max_output_tokens=min(alone, policy.longest_goodbye_tokens), alone=True)
    return Permit(max_output_tokens=whole) if whole >= policy.least_goodbye_tokens else None
