"""What the browser tests and the pictures need: a fleet, a browser with a voice, a backend."""

from __future__ import annotations

import asyncio
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
from playwright.async_api import Browser, async_playwright

from fleet.local.chromium import find_chromium
from fleet.local.simulators import SimulatorKind
from fleet.local.stack import LocalFleet, StackOptions, local_fleet
from loadtest.participants.voice import Voices

T = TypeVar("T")
KEY = "browser-tests-0123456789"
WARM_S = 100.0
RATE = 48_000
SPEECH_S, PAUSE_S = 1.6, 4.4
"""What the microphone hears, over and over: a sentence, then the other's turn."""
LOOK_S = 0.1


@asynccontextmanager
async def a_fleet(**settings: str) -> AsyncIterator[LocalFleet]:
    """Behind a key; its interviewer in short sentences."""
    options = StackOptions(
        settings={
            "api_key": KEY,
            "warm_actors": "2",
            **settings,
        },
        simulator_arguments=dict.fromkeys(SimulatorKind, ("--seed", "7", "--speech-s", "1.2-2.2")),
    )
    async with local_fleet(options, lambda _line: None) as fleet:
        yield fleet


@asynccontextmanager
async def a_browser(speech: Path) -> AsyncIterator[Browser]:
    """The system's Chromium, headless; what it hears as its microphone is `speech`."""
    voice = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={speech}"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=voice)
        try:
            yield browser
        finally:
            await browser.close()


def speech_file(path: Path) -> Path:
    voices = Voices(sample_rate=RATE, seed=3)
    said = voices.speech(choice=0, speech_s=SPEECH_S)
    silence = np.zeros(round(PAUSE_S * RATE), dtype=np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.concatenate([said, silence]).tobytes())
    return path


@dataclass(frozen=True)
class Backend:
    """A study's backend: asks for interviews and looks after them."""

    http: httpx.AsyncClient
    fleet: LocalFleet

    @classmethod
    @asynccontextmanager
    async def of(cls, fleet: LocalFleet) -> AsyncIterator[Backend]:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(base_url=fleet.api_url, headers=headers, timeout=30) as http:
            backend = cls(http, fleet)
            await until(backend.is_warm, lambda warm: warm, WARM_S)
            yield backend

    async def is_warm(self) -> bool:
        return bool((await self.get("/v1/fleet"))["actors"]["warm"])

    async def create(self, *, turns_per_phase: int = 1, **changes: Any) -> dict[str, Any]:
        """An interview with a topic of its own, by which its simulator knows it."""
        marker = f"how people use park number {time.monotonic_ns()}"
        simulator = self.fleet.simulators[SimulatorKind.OPENAI]
        script = {"match": marker, "turns_per_phase": turns_per_phase}
        (await self.http.post(f"{simulator.control_url}/scripts", json=script)).raise_for_status()
        body = {
            "provider": "openai_realtime",
            "instructions": f"You are a friendly interviewer. You want to learn {marker}.",
            "study_id": "browser",
            "vad_config": {"silence_duration_ms": 500},
            "phases": [
                {"id": "warmup", "name": "Warm-up", "duration_seconds": 240},
                {"id": "core", "name": "Core", "duration_seconds": 240, "prompt_suffix": PROTOCOL},
            ],
            "budget_limit_usd": 3.2107,
            "session_timeout_seconds": 600,
            **changes,
        }
        answer = await self.http.post("/v1/sessions", json=body)
        answer.raise_for_status()
        return dict(answer.json())

    async def get(self, path: str) -> Any:
        answer = await self.http.get(path)
        answer.raise_for_status()
        return answer.json()

    async def end(self, session: Mapping[str, Any]) -> None:
        (await self.http.delete(session["links"]["self"])).raise_for_status()

    async def speakers(self, session: Mapping[str, Any]) -> set[str]:
        """Who has said something so far."""
        turns = (await self.get(session["links"]["transcript"]))["turns"]
        return {turn["speaker"] for turn in turns}

    async def gone(self, session: Mapping[str, Any], within_s: float) -> dict[str, Any]:
        async def look() -> dict[str, Any]:
            return dict(await self.get(session["links"]["self"]))

        return await until(look, lambda record: record["state"] == "gone", within_s)


PROTOCOL = "Ask about one concrete visit, and about the fountain."


async def until(
    look: Callable[[], Awaitable[T]], good: Callable[[T], object], within_s: float
) -> T:
    """What ``look`` returns once that is ``good``. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not good(seen := await look()):
            await asyncio.sleep(LOOK_S)  # another process has no event that we could wait on
        return seen
