"""Shapes of the Realtime API's server side: ids, response objects, usage. Pure but for the ids."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from loadtest.simulators.invoice import TokenUsage

CLOSE_GOING_AWAY = 1001
CLOSE_REFUSED = 4000
BETA_REFUSED = (
    "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API."
)
QUOTA_MESSAGE = (
    "You exceeded your current quota, please check your plan and billing details. For more "
    "information on this error, read the docs: "
    "https://platform.openai.com/docs/guides/error-codes/api-errors."
)


def new_id(prefix: str) -> str:
    """An id never given before, short enough for the API's 32 characters."""
    return f"{prefix}_{uuid.uuid4().hex[:21]}"


def usage_json(usage: TokenUsage) -> dict[str, Any]:
    """`response.usage` of a `response.done`."""
    return {
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "input_token_details": {
            "text_tokens": usage.input_text,
            "audio_tokens": usage.input_audio,
            "image_tokens": 0,
            "cached_tokens": usage.cached_tokens,
            "cached_tokens_details": {
                "text_tokens": usage.cached_text,
                "audio_tokens": usage.cached_audio,
                "image_tokens": 0,
            },
        },
        "output_token_details": {
            "text_tokens": usage.output_text,
            "audio_tokens": usage.output_audio,
        },
    }


def status_details(
    status: str, *, reason: str | None = None, error: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    """`status_details` of a response, which only the unfinished ones have."""
    if status in ("in_progress", "completed"):
        return None
    details: dict[str, Any] = {"type": status}
    if reason is not None:
        details["reason"] = reason
    if error is not None:
        details["error"] = dict(error)
    return details


def message_item(item_id: str, *, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
    """An assistant message."""
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def call_item(
    item_id: str, *, call_id: str, name: str, arguments: str, status: str
) -> dict[str, Any]:
    """A function call."""
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def user_audio_item(item_id: str) -> dict[str, Any]:
    """A user message made from the input audio buffer; its transcript comes later."""
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": None}],
    }


def http_error(message: str, *, kind: str, code: str | None) -> dict[str, Any]:
    """Body of a refused handshake."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
