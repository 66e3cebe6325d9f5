"""Sessions kept between connections, by handle; pure (`now_s` is an argument).

A handle stands for the session as it was when the handle was sent. Using one does not use it up.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Generic, TypeVar

from loadtest.simulators.gemini.setup import CLOSE_INVALID_ARGUMENT, CLOSE_POLICY, SetupError

HANDLE_LIFE_S = 2 * 3600.0
NOT_FOUND_REASON = "BidiGenerateContent session not found"
_HANDLE_CHARS = 64

State = TypeVar("State")


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved(Generic[State]):
    state: State
    expires_at_s: float


class HandleStore(Generic[State]):
    """Every handle issued in the last two hours."""

    def __init__(self, *, secret: str) -> None:
        self._secret = secret
        self._saved: dict[str, Saved[State]] = {}
        self._issued = 0

    def issue(self, state: State, *, now_s: float) -> str:
        self._drop_expired(now_s)
        self._issued += 1
        material = f"{self._secret}/{self._issued}".encode()
        handle = hashlib.sha256(material).hexdigest()[:_HANDLE_CHARS]
        self._saved[handle] = Saved(state=state, expires_at_s=now_s + HANDLE_LIFE_S)
        return handle

    def redeem(self, handle: str, *, now_s: float) -> State:
        """Raises SetupError: 1007 for what is no handle, 1008 for one unknown or expired."""
        if len(handle) != _HANDLE_CHARS or not set(handle) <= set("0123456789abcdef"):
            raise SetupError(CLOSE_INVALID_ARGUMENT, "Invalid session handle")
        saved = self._saved.get(handle)
        if saved is None or saved.expires_at_s <= now_s:
            raise SetupError(CLOSE_POLICY, NOT_FOUND_REASON)
        return saved.state

    def _drop_expired(self, now_s: float) -> None:
        # Handles expire in the order they were issued, which is the order of the dict.
        for handle, saved in list(self._saved.items()):
            if saved.expires_at_s > now_s:
                break
            del self._saved[handle]
