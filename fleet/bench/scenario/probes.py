"""What one more dispatch costs the machine while so many sessions are live.

Windows of equal length without and with added sessions take turns. An added one is a no-show, so
its actor does next to nothing but come and go.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import httpx

from fleet.bench.scenario.forms import Form
from fleet.bench.scenario.samples import Sample, Stair, Window, window
from fleet.bench.scenario.watch import Watch

NO_SHOW_S = 3.0
ANSWER_S = 60.0


class Prober:
    def __init__(self, api_url: str, form: Form, watch: Watch, *, study: str, stair: int) -> None:
        self._url = f"{api_url}/v1/sessions"
        self._form = form
        self._watch = watch
        self._study = study
        self._stair = stair
        self._asked = 0

    async def measure(self) -> Stair:
        """Raises httpx.HTTPError or FleetError where the fleet could not be looked at."""
        calm, probed = [], []
        async with httpx.AsyncClient(timeout=ANSWER_S) as http:
            for _ in range(self._form.probe_rounds):
                calm.append(await self._window(http, 0))
                probed.append(await self._window(http, self._form.probes))
        windows = (*calm, *probed)
        live = sum(w.live for w in windows) / len(windows)
        return Stair(live=live, calm=tuple(calm), probed=tuple(probed))

    async def _window(self, http: httpx.AsyncClient, probes: int) -> Window:
        form = self._form
        before = await self._watch.look()
        began = self._asked_for(before)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(form.probes):
                if probes:
                    tasks.create_task(self._ask(http))
                await asyncio.sleep(1 / form.probe_rate)
        after = await self._watch.look()
        samples = [s.live for s in self._watch.samples if before.at_s <= s.at_s <= after.at_s]
        return window(before, after, self._asked_for(after) - began, samples)

    def _asked_for(self, sample: Sample) -> int:
        """Sessions that had been asked for by then."""
        return sum(sample.sessions.values())

    async def _ask(self, http: httpx.AsyncClient) -> None:
        self._asked += 1
        body: dict[str, Any] = {
            "provider": "openai_realtime",
            "instructions": "A session to which nobody comes.",
            "phases": [{"id": "only", "name": "Only", "duration_seconds": 60}],
            "no_show_seconds": NO_SHOW_S,
            "study_id": self._study,
            "rehearsal": {"arrives_after_s": None},
        }
        key = f"{self._study}/{self._stair}/{self._asked}"
        # One that is not had is not counted: how many there were is read from the fleet.
        with suppress(httpx.HTTPError):
            await http.post(self._url, json=body, headers={"Idempotency-Key": key})
