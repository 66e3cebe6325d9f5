"""What a plugin's error means: refused for good, or not to be had just now."""

from __future__ import annotations

from agent_actor.errors import ProviderError, ProviderRefused, ProviderUnavailable

_REFUSING_STATUS = frozenset({400, 401, 403, 404})
_REFUSING_WORDS = (
    "insufficient_quota",
    "credit_balance_exhausted",
    "invalid_api_key",
    "api key not valid",
    "account_deactivated",
    "billing_hard_limit_reached",
    "permission_denied",
    "1007",
    "1008",
)


def classify(error: BaseException | None) -> ProviderError:
    """Follows the chain of causes: the plugins wrap the telling error in a general one."""
    texts: list[str] = []
    seen = error
    while seen is not None:
        status = getattr(seen, "status", None) or getattr(seen, "code", None)
        texts.append(f"{type(seen).__name__}: {seen}")
        if status in _REFUSING_STATUS or _refuses(f"{seen} {status}"):
            return ProviderRefused(_first_line(texts[-1]))
        seen = seen.__cause__ or seen.__context__
    return ProviderUnavailable(_first_line(texts[0]) if texts else "the provider's session closed")


def _refuses(text: str) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in _REFUSING_WORDS)


def _first_line(text: str) -> str:
    return text.splitlines()[0][:300]
