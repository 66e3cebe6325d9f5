"""Whether the participant is speaking already when a successor comes in. Pure but for numpy.

The server tells who begins to be heard and who ceases, and tells a newcomer nothing of who is being
heard. So the successor listens itself, until it has heard the participant be quiet once; from then
on it goes by the server, as everybody does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

AUDIBLE_DBFS = -40.0
"""Above a room's noise, and about where the server counts somebody as heard."""
QUIET_MS = 400
LONGEST_MS = 30_000
"""Nobody speaks so long without a breath: what is heard is noise."""

_AUDIBLE = (32_768 * 10 ** (AUDIBLE_DBFS / 20)) ** 2


class Ear:
    """``tell`` is called with True when speech is heard and with False when it has ceased."""

    def __init__(self, tell: Callable[[bool], None]) -> None:
        self._tell = tell
        self._speaking = False
        self._quiet_ms = 0.0
        self._heard_ms = 0.0
        self.done = False

    def hear(self, samples: NDArray[np.int16], ms: float) -> None:
        """The next frame. Nothing happens any more once it is ``done``."""
        if self.done or not len(samples):
            return
        self._heard_ms += ms
        loud = float(np.mean(np.square(samples, dtype=np.float64))) > _AUDIBLE
        self._quiet_ms = 0.0 if loud else self._quiet_ms + ms
        if loud and not self._speaking:
            self._speaking = True
            self._tell(True)
        if self._quiet_ms >= QUIET_MS or self._heard_ms >= LONGEST_MS:
            self.done = True
            if self._speaking:
                self._tell(False)
