"""What a participant has to say, and the room it sits in: PCM made from a seed."""

from __future__ import annotations

import numpy as np

from loadtest.participants.listening import Pcm
from loadtest.simulators.speech import PARTICIPANT, SpeechLibrary, noise

SAMPLE_RATES = (24_000, 48_000)
"""Of the microphone; a browser has the higher."""
TAKES = 3
TAKE_MS = 6_000
NOISE_MS = 2_000
INAUDIBLE = 64
"""Samples below this (-54 dBFS) at the end of a clip are cut: speech ends when it is heard to."""


class Voices:
    """Speech and noise for any number of participants at one sample rate.

    `warm` does the heavy work (about 0.2 s) and may run in a thread before first use; after it
    everything is a slice.
    """

    def __init__(self, *, sample_rate: int, seed: int = 0) -> None:
        self.sample_rate = sample_rate
        self._seed = seed
        self._library = SpeechLibrary(
            seed=seed, sample_rate=sample_rate, voice=PARTICIPANT, takes=TAKES, take_ms=TAKE_MS
        )
        self._noise: dict[float, Pcm] = {}

    def warm(self) -> None:
        for take in range(TAKES):
            self._library.clip(choice=take, duration_ms=1)

    def speech(self, *, choice: int, speech_s: float) -> Pcm:
        """Up to `speech_s` of speech that ends audibly; at most a word gap shorter."""
        clip = self._library.clip(choice=choice, duration_ms=round(speech_s * 1000))
        pcm = np.frombuffer(clip, dtype=np.int16)
        audible = np.flatnonzero(np.abs(pcm.astype(np.int32)) >= INAUDIBLE)
        return pcm[: audible[-1] + 1] if len(audible) else pcm

    def background(self, dbfs: float | None) -> Pcm | None:
        """A loop of room noise at a level; None for digital silence."""
        if dbfs is None:
            return None
        if dbfs not in self._noise:
            made = noise(
                seed=self._seed, duration_ms=NOISE_MS, sample_rate=self.sample_rate, dbfs=dbfs
            )
            self._noise[dbfs] = np.frombuffer(made, dtype=np.int16)
        return self._noise[dbfs]
