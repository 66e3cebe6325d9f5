"""What the user says, from the audio and the client's signals; pure, in audio time."""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.simulators.gemini.setup import SessionSetup
from loadtest.simulators.gemini.wire import INPUT_RATE_HZ, Signal
from loadtest.simulators.speech import duration_ms_of, silence
from loadtest.simulators.vad import EnergyVad, SpeechStarted, VadEvent, VadSettings

THRESHOLD_HIGH = 0.5
THRESHOLD_LOW = 0.7


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The user began to speak."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnEnded:
    """A turn of the user: `billed_ms` enter the context, `voiced_ms` were speech.

    Without audio (both zero) the client only took its activity back.
    """

    billed_ms: int
    voiced_ms: int


Heard = TurnStarted | TurnEnded


class Listener:
    """Server detection on energy, or none at all when the setup leaves it to the client."""

    def __init__(self, setup: SessionSetup) -> None:
        activity = setup.activity
        self._manual = activity.disabled
        self._all_input = setup.silence_in_turn
        self._silence_ms = activity.silence_ms
        self._vad = EnergyVad(
            sample_rate=INPUT_RATE_HZ,
            settings=VadSettings(
                threshold=THRESHOLD_HIGH if activity.sensitive_start else THRESHOLD_LOW,
                silence_duration_ms=activity.silence_ms,
                prefix_padding_ms=0,
                onset_ms=activity.onset_ms,
            ),
        )
        self._counted_to_ms = 0
        self._manual_ms: int | None = None

    def feed(self, pcm: bytes) -> list[Heard]:
        if self._manual:
            if self._manual_ms is not None:
                self._manual_ms += duration_ms_of(pcm, INPUT_RATE_HZ)
            return []
        return [self._heard(event) for event in self._vad.feed(pcm)]

    def allows(self, signal: Signal) -> bool:
        """Activity signals need manual detection, the end of the stream needs the server's."""
        if signal is Signal.AUDIO_STREAM_END:
            return not self._manual
        return self._manual or signal is Signal.VIDEO

    def signal(self, signal: Signal) -> list[Heard]:
        match signal:
            case Signal.ACTIVITY_START:
                self._manual_ms = 0
                return [TurnStarted()]
            case Signal.ACTIVITY_END:
                spoken_ms, self._manual_ms = self._manual_ms or 0, None
                return [TurnEnded(billed_ms=spoken_ms, voiced_ms=spoken_ms)]
            case Signal.AUDIO_STREAM_END if self._vad.speaking:
                return self.feed(silence(duration_ms=self._silence_ms, sample_rate=INPUT_RATE_HZ))
            case _:
                return []

    def _heard(self, event: VadEvent) -> Heard:
        if isinstance(event, SpeechStarted):
            return TurnStarted()
        since_ms = self._counted_to_ms if self._all_input else event.start_ms
        until_ms = event.end_ms if self._all_input else event.end_ms - self._silence_ms
        self._counted_to_ms = event.end_ms
        return TurnEnded(billed_ms=max(0, until_ms - since_ms), voiced_ms=event.voiced_ms)
