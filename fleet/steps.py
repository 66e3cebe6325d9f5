"""How long each named step of something took."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

Watch = Callable[[str], AbstractContextManager[object]]
"""Entered with each step, and left with it."""


class StepTimer:
    """``with timer("room"): …``. A step that fails is timed too; ``current`` names it then, the
    last that failed of those that were under way at once."""

    def __init__(
        self, clock: Callable[[], float], watch: Watch = lambda step: nullcontext()
    ) -> None:
        self._clock = clock
        self._watch = watch
        self.current = ""
        self.timings_s: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        began = self._clock()
        self.current = step
        try:
            with self._watch(step):
                yield
        except BaseException:
            self.current = step
            raise
        finally:
            self.timings_s[step] = self._clock() - began
