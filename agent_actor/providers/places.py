"""How many of a node's actors may hold a connection open ahead: a place each, taken by locking a
file, so that the kernel gives it back whatever becomes of the process."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, flock


class Place:
    """At most one of ``most``, shared by this user's processes on this node."""

    def __init__(self, most: int, folder: str | None = None) -> None:
        self._most = most
        self._folder = folder or os.path.join(
            tempfile.gettempdir(), f"fleet-preopened-{os.getuid()}"
        )
        self._handle: int | None = None

    def take(self) -> bool:
        """Whether it is had, now or from before."""
        if self._handle is not None:
            return True
        with suppress(OSError):
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            for number in range(self._most):
                if self._lock(os.path.join(self._folder, str(number))):
                    return True
        return False

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _lock(self, path: str) -> bool:
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            flock(handle, LOCK_EX | LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        self._handle = handle
        return True
