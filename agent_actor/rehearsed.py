"""The participant of a rehearsal: comes, listens, thinks, speaks, and leaves, by its script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import numpy as np
from livekit import rtc

from agent_actor.contract import Rehearsal, VadConfig
from agent_actor.memory_audio import MemoryInput, MemoryOutput

SAMPLE_RATE = 24_000
FRAME_MS = 100
_FRAME_SAMPLES = SAMPLE_RATE * FRAME_MS // 1000
_LEVEL = 4_000
"""About -21 dBFS: speech to every turn detection."""
_CLIPS = 8
AFTER_SILENCE_MS = 500
"""The uplink flows for as long after a turn as it takes to be noticed as over, and this much."""

Say = Callable[[bool], None]
"""Told when the participant begins and ceases to be heard."""


class Rehearsed:
    """``here`` and ``gone`` are called when it comes and leaves. ``run`` it until cancelled."""

    def __init__(
        self,
        script: Rehearsal,
        vad: VadConfig,
        audio_in: MemoryInput,
        audio_out: MemoryOutput,
        *,
        here: Callable[[], None],
        gone: Callable[[], None],
        speaking: Say,
    ) -> None:
        self._script = script
        self._random = Random(script.seed)
        self._in, self._out = audio_in, audio_out
        self._here, self._gone, self._speaking = here, gone, speaking
        self._tail_ms = vad.silence_duration_ms + AFTER_SILENCE_MS
        self._in_turn = False

    async def run(self) -> None:
        script = self._script
        if script.arrives_after_s is None:
            return
        await asyncio.sleep(script.arrives_after_s)
        self._here()
        try:
            async with asyncio.timeout(script.leaves_after_s):
                await self._converse()
        except TimeoutError:
            self._gone()
        if script.returns_after_s is not None:
            await asyncio.sleep(script.returns_after_s)
            self._here()
            await self._converse()

    async def _converse(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            if self._script.always_on:
                tasks.create_task(self._be_silent())
            await self._take_turns()

    async def _be_silent(self) -> None:
        while True:
            if self._in_turn:
                await self._pause(FRAME_MS / 1000)
            else:
                await self._send(_SILENCE)

    async def _take_turns(self) -> None:
        spurts = 0
        while True:
            cuts_in = self._random.random() < self._script.interrupts
            await self._listen(spurts, cuts_in=cuts_in)
            # The answer may begin while the silence after our words is still on its way.
            spurts = self._out.spurts
            await self._speak(self._draw(self._script.speech_s))

    async def _listen(self, spurts: int, *, cuts_in: bool) -> None:
        """Until the interviewer is through, and some thinking; at most for the patience it has.
        ``spurts``: what the interviewer had said when we last spoke.
        """
        script = self._script
        try:
            async with asyncio.timeout(script.patience_s):
                await self._until(lambda: self._out.spurts > spurts)
                if cuts_in:
                    await self._pause(self._draw(script.thinks_s))
                    return
                while True:
                    await self._until(lambda: not self._out.playing)
                    said = self._out.spurts
                    await self._pause(self._draw(script.thinks_s))
                    if said == self._out.spurts and not self._out.playing:
                        return
        except TimeoutError:
            return

    async def _speak(self, seconds: float) -> None:
        self._in_turn = True
        with self._heard():
            for frame in _speech(self._random.randrange(_CLIPS), seconds):
                await self._send(frame)
        for _ in range(-(-self._tail_ms // FRAME_MS)):
            await self._send(_SILENCE)
        self._in_turn = False

    @contextmanager
    def _heard(self) -> Iterator[None]:
        self._speaking(True)
        try:
            yield
        finally:
            self._speaking(False)

    async def _send(self, pcm: bytes) -> None:
        self._in.put(
            rtc.AudioFrame(
                data=pcm,
                sample_rate=SAMPLE_RATE,
                num_channels=1,
                samples_per_channel=_FRAME_SAMPLES,
            )
        )
        await self._pause(FRAME_MS / 1000)

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            await self._out.changed.wait()

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._script.speed)

    def _draw(self, span_s: tuple[float, float]) -> float:
        return self._random.uniform(*span_s)


def _noise(seed: int) -> list[bytes]:
    """A second of it, in frames: what speech is to an energy detector."""
    samples = np.random.default_rng(seed).normal(0, _LEVEL, SAMPLE_RATE).clip(-32_768, 32_767)
    pcm = samples.astype("<i2").tobytes()
    size = _FRAME_SAMPLES * 2
    return [pcm[start : start + size] for start in range(0, len(pcm), size)]


def _speech(clip: int, seconds: float) -> Iterator[bytes]:
    frames = _noises(clip)
    for n in range(max(1, round(seconds * 1000 / FRAME_MS))):
        yield frames[n % len(frames)]


_MADE: dict[int, list[bytes]] = {}
_SILENCE = bytes(_FRAME_SAMPLES * 2)


def _noises(clip: int) -> list[bytes]:
    if clip not in _MADE:
        _MADE[clip] = _noise(clip)
    return _MADE[clip]
