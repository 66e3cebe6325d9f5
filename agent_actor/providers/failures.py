"""What a plugin's error means: refused for good, or not to be had just now."""

from __future__ import annotations

from typing import Any

from agent_actor.errors import ProviderError, ProviderRefused, ProviderUnavailable

# HTTP statuses and WebSocket close codes. 1007 is Gemini's for a bad key, a bad argument and a
# context that has outgrown the model; 1008 for a model that cannot do what was asked.
_REFUSING_CODES = frozenset({400, 401, 403, 404, 1007, 1008})
_REFUSING_WORDS = (
    "insufficient_quota",
    "exceeded your current quota",
    "credit_balance_exhausted",
    "invalid_api_key",
    "api key not valid",
    "account_deactivated",
    "billing_hard_limit_reached",
    "permission_denied",
    "model_not_found",
)

_LATE = "generate_reply timed out"


def classify(error: BaseException | None) -> ProviderError:
    """Follows the chain of causes: the plugins wrap the telling error in a general one."""
    first, seen = error, set[int]()
    while error is not None and id(error) not in seen:
        if _is_refusal(error):
            return ProviderRefused(_text(error))
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return ProviderUnavailable(_text(first) if first else "the provider's session closed")


def is_late(error: BaseException | None) -> bool:
    """A response that was asked for and did not begin in the time that the plugin gives it. Both
    plugins say so by their words alone."""
    return error is not None and _LATE in str(error)


def _is_refusal(error: BaseException) -> bool:
    # livekit-agents' errors say it themselves.
    if getattr(error, "retryable", None) is False or _code(error) in _REFUSING_CODES:
        return True
    text = _text(error).lower()
    return any(word in text for word in _REFUSING_WORDS)


def _code(error: BaseException) -> Any:
    """The HTTP status or close code, where aiohttp, livekit, websockets or google-genai has it."""
    if hasattr(error, "rcvd"):
        return getattr(error.rcvd, "code", None)
    if (answer := getattr(error, "response", None)) is not None and hasattr(answer, "status_code"):
        return answer.status_code
    found = (getattr(error, name, None) for name in ("status_code", "status", "code"))
    return next((code for code in found if isinstance(code, int)), None)


def _text(error: BaseException) -> str:
    """One line, with the provider's own words where the plugin keeps them apart."""
    body = getattr(error, "body", None)
    details = [str(d) for name in ("code", "message") if (d := getattr(body, name, None))]
    text = f"{type(error).__name__}: {error}"
    if details:
        text += f" ({': '.join(details)})"
    return text.splitlines()[0][:300]
