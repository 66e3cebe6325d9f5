"""Garbage collection for a process that holds much, for long, and makes next to no garbage.

CPython's full collections walk everything that is alive, and nothing else runs meanwhile: 55 ms
for what the imports of an actor leave behind, 216 ms with 20,000 accounts beside it, every few
seconds at 500 reports/s. Here what has survived a collection of more than the youngest is set
aside (frozen), so that a full one walks only what came after. Whatever is let go is freed at once
as ever, set aside or not; only a cycle that dies after it was set aside waits for the next
collection of everything.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

EVERYTHING_EVERY_S = 1800.0


class Collector:
    """One for a process. ``install`` it when what is to stay has been loaded.

    ``everything_every_s``: how often a full collection, whoever asks for it, walks all there is.
    """

    def __init__(
        self,
        everything_every_s: float = EVERYTHING_EVERY_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every_s = everything_every_s
        self._now = now
        self._walked_at = now()

    def install(self) -> None:
        gc.callbacks.append(self._on_collection)
        gc.collect()

    def remove(self) -> None:
        gc.callbacks.remove(self._on_collection)
        gc.unfreeze()

    def _on_collection(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] == 0:
            return
        if phase == "stop":
            gc.freeze()
        elif info["generation"] == 2 and self._now() - self._walked_at >= self._every_s:
            self._walked_at = self._now()
            gc.unfreeze()
