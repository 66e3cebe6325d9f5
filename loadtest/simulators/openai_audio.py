"""Both directions of a Realtime session's audio: base64 pieces out, the input buffer in."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from loadtest.simulators.openai_config import SAMPLE_RATE
from loadtest.simulators.openai_schema import ClientError
from loadtest.simulators.speech import BYTES_PER_SAMPLE, SpeechLibrary
from loadtest.simulators.vad import EnergyVad, SpeechStopped, VadEvent, VadSettings

CHUNK_MS = 200
BYTES_PER_MS = SAMPLE_RATE * BYTES_PER_SAMPLE // 1000
MIN_COMMIT_MS = 100


class ChunkLibrary:
    """Speech cut into base64 pieces, each encoded once however many sessions speak it."""

    def __init__(self, library: SpeechLibrary) -> None:
        self._library = library
        self._whole: dict[tuple[int, int], str] = {}

    def piece(self, *, choice: int, start_ms: int, end_ms: int) -> str:
        """Base64 of a stretch of the take `choice`; aligned whole pieces are kept."""
        key = (self._library.take_index(choice), start_ms)
        if end_ms - start_ms == CHUNK_MS and key in self._whole:
            return self._whole[key]
        pcm = self._library.clip(choice=choice, duration_ms=end_ms)
        encoded = base64.b64encode(pcm[start_ms * BYTES_PER_MS :]).decode()
        if end_ms - start_ms == CHUNK_MS and start_ms % CHUNK_MS == 0:
            self._whole[key] = encoded
        return encoded


def decode_audio(encoded: object) -> bytes:
    """PCM of an `append` event. Raises ClientError."""
    if isinstance(encoded, str):
        try:
            pcm = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            pcm = b"?"
        if len(pcm) % BYTES_PER_SAMPLE == 0:
            return pcm
    raise ClientError(
        "Invalid 'audio'. Expected base64-encoded audio bytes (mono PCM16 at 24kHz) but got an "
        "invalid value.",
        code="invalid_value",
        param="audio",
    )


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Committed audio: how much of it, and how much of that was loud."""

    duration_ms: int
    voiced_ms: int


class InputBuffer:
    """The input audio buffer: knows durations and turns, keeps no audio.

    With `manual` set no events come out and the client commits; else the detector decides.
    """

    def __init__(self, *, settings: VadSettings, manual: bool) -> None:
        self.manual = manual
        self._vad = EnergyVad(sample_rate=SAMPLE_RATE, settings=settings)
        self._bytes = 0
        self._from_ms = 0
        self._open_from_ms: int | None = None
        self._voiced_ms = 0

    @property
    def position_ms(self) -> int:
        """All audio ever appended."""
        return self._bytes // BYTES_PER_MS

    def configure(self, *, settings: VadSettings, manual: bool) -> None:
        if manual != self.manual:
            self._vad.reset()
            self._open_from_ms = None
        self.manual = manual
        self._vad.configure(settings)

    def append(self, pcm: bytes) -> list[VadEvent]:
        """Take audio in; returns what the detector made of it."""
        self._bytes += len(pcm)
        events = self._vad.feed(pcm)
        if self.manual:
            self._voiced_ms += sum(e.voiced_ms for e in events if isinstance(e, SpeechStopped))
            return []
        for event in events:
            self._open_from_ms = None if isinstance(event, SpeechStopped) else event.start_ms
        return events

    def close_turn(self, stopped: SpeechStopped) -> Turn:
        """Take the turn the detector ended out of the buffer."""
        start_ms = max(stopped.start_ms, self._from_ms)
        self._restart(stopped.end_ms)
        return Turn(duration_ms=stopped.end_ms - start_ms, voiced_ms=stopped.voiced_ms)

    def commit(self) -> Turn:
        """Take out what is buffered. Raises ClientError under 100 ms of audio."""
        start_ms = self._from_ms if self._open_from_ms is None else self._open_from_ms
        duration_ms = self.position_ms - start_ms
        if duration_ms < MIN_COMMIT_MS:
            raise ClientError(
                "Error committing input audio buffer: buffer too small. Expected at least 100ms "
                f"of audio, but buffer only has {duration_ms:.2f}ms of audio.",
                code="input_audio_buffer_commit_empty",
            )
        turn = Turn(duration_ms=duration_ms, voiced_ms=self._voiced_ms + self._vad.voiced_ms)
        self.clear()
        return turn

    def clear(self) -> None:
        """Drop what is buffered, an open turn included."""
        self._vad.reset()
        self._restart(self.position_ms)

    def _restart(self, at_ms: int) -> None:
        self._from_ms = at_ms
        self._open_from_ms = None
        self._voiced_ms = 0
