"""Bounds on OpenAI Realtime's responses, as the protocol has them. Pure.

Source: the Realtime API's reference of ``session.update`` (turn detection, truncation) and
``response.create``, and openai-python's types/realtime.
"""

from __future__ import annotations

from openai.types.realtime import (
    RealtimeAudioConfig,
    RealtimeAudioConfigInput,
    RealtimeResponseCreateParams,
    RealtimeSessionCreateRequest,
)
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad
from openai.types.realtime.realtime_truncation_retention_ratio import (
    RealtimeTruncationRetentionRatio,
    TokenLimits,
)

from agent_actor.permits import Permit

LARGEST_CAP = 4096
"""The largest number that ``max_output_tokens`` takes."""
_RETENTION = 0.8


def turns(detection: ServerVad, *, by_server: bool) -> ServerVad:
    """The same detection, with or without responses of the server's own.

    Both go together: a server that interrupts by itself would cancel what it may not replace.
    """
    changes = {"create_response": by_server, "interrupt_response": by_server}
    return detection.model_copy(update=changes)


def with_detection(detection: ServerVad) -> RealtimeSessionCreateRequest:
    audio = RealtimeAudioConfig(input=RealtimeAudioConfigInput(turn_detection=detection))
    return RealtimeSessionCreateRequest(type="realtime", audio=audio)


def truncation(tokens: int) -> RealtimeTruncationRetentionRatio:
    """No more than ``tokens`` of conversation after the instructions, the oldest dropped."""
    return RealtimeTruncationRetentionRatio(
        type="retention_ratio",
        retention_ratio=_RETENTION,
        token_limits=TokenLimits(post_instructions=tokens),
    )


def bound(params: RealtimeResponseCreateParams, permit: Permit, *, closing: str) -> None:
    """Write the permit's bounds into the request. ``closing``: the instructions of one that is
    made without the conversation, which is always a goodbye.
    """
    if permit.max_output_tokens is not None:
        params.max_output_tokens = min(permit.max_output_tokens, LARGEST_CAP)
    if not permit.alone:
        return
    params.instructions = closing
    params.conversation = "none"
    params.input = []
    params.tools = []
    params.tool_choice = "none"
