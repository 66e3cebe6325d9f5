"""Speech as ready-made server frames, shared by all sessions; pure but for its cache."""

from __future__ import annotations

from collections.abc import Iterator

from loadtest.simulators.gemini.wire import OUTPUT_RATE_HZ, audio_frame
from loadtest.simulators.speech import SpeechLibrary

FRAME_MS = 200
"""Speech in one server message. Clips are cut to whole steps of half of that."""
STEP_MS = FRAME_MS // 2


class SpeechFrames:
    """Encodes each piece of each take once: a session then costs no base64 and no JSON."""

    def __init__(self, *, seed: int, takes: int = 6, take_ms: int = 12_000) -> None:
        self._library = SpeechLibrary(
            seed=seed, sample_rate=OUTPUT_RATE_HZ, takes=takes, take_ms=take_ms
        )
        self._takes, self._per_take = takes, take_ms // FRAME_MS
        self._cache: dict[tuple[int, int, int], bytes] = {}

    def clip(self, *, choice: int, duration_ms: int) -> Iterator[tuple[bytes, int]]:
        """(frame, its milliseconds) until `duration_ms`, rounded down to steps, is spoken."""
        left_ms = duration_ms // STEP_MS * STEP_MS
        index = 0
        while left_ms > 0:
            ms = min(FRAME_MS, left_ms)
            yield self._frame(choice % self._takes, index % self._per_take, ms), ms
            left_ms -= ms
            index += 1

    def _frame(self, take: int, index: int, ms: int) -> bytes:
        key = (take, index, ms)
        if key not in self._cache:
            start_ms = index * FRAME_MS
            end = self._bytes(start_ms + ms)
            pcm = self._library.clip(choice=take, duration_ms=start_ms + ms)
            self._cache[key] = audio_frame(pcm[self._bytes(start_ms) : end])
        return self._cache[key]

    @staticmethod
    def _bytes(ms: int) -> int:
        return ms * OUTPUT_RATE_HZ // 1_000 * 2
