"""The whole fleet on real parts, and interviews on it. Everything started here is ended here."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

from agent_actor.contract import Provider
from agent_actor.redis_client import open_redis
from fleet.bench.chaos import cluster
from fleet.bench.chaos.fault import Needs
from fleet.bench.chaos.interview import Asked, Interview
from fleet.bench.progress import Progress
from fleet.bench.waiting import until
from fleet.budget.ledger import Ledger
from fleet.cli.client import problem_of
from fleet.errors import DispatchFailed
from fleet.journal import Journal
from fleet.livekit_client import WEBHOOK_EVENTS, LiveKitClient
from fleet.local.crowd import Crowd, crowd
from fleet.local.errors import LocalPartError
from fleet.local.livekit import LiveKitServer
from fleet.local.processes import free_ports
from fleet.local.redis import Fsync, RedisServer
from fleet.local.run_dir import run_dir
from fleet.local.simulators import Simulator, SimulatorKind
from fleet.local.stack import (
    LocalFleet,
    StackOptions,
    environment,
    local_fleet,
    server_environment,
)
from fleet.registry import Registry

POST_S = 60.0
PATIENCE_S = 60.0
WARM_S = 240.0
POLL_S = 0.2
SETTLE_S = 60.0
STORE_TIMEOUT_S = 5.0
TTFA_MS = 300
"""What both simulators take from a request to their first audio: always the same, so that what the
fleet takes can be told apart."""
SIMULATORS = {
    Provider.OPENAI_REALTIME: SimulatorKind.OPENAI,
    Provider.GEMINI_LIVE: SimulatorKind.GEMINI,
}
FLEET: Mapping[str, str] = {"max_sessions": "24", "max_starting_actors": "2"}
"""Slots enough for those that are under way, and for those that take their place."""
PARTICIPANT: Mapping[str, Any] = {
    "name": "chaos",
    "think_s": [1.2, 2.0],
    "answer_s": [2.5, 3.5],
    "noise_dbfs": -60.0,
    "speaks_up_after_s": 15.0,
}
"""Speaks up in the end, as people do: an interview that has lost a turn goes on and is seen to."""
INTERVIEWER: Mapping[str, Any] = {
    "turns_per_phase": 2,
    "speech_s": [3.0, 4.0],
    "ttfa_ms": [TTFA_MS, TTFA_MS],
}


class Stage:
    """``redis`` and ``livekit`` may be stopped and started by whoever tests that. ``first``: the
    number of the first interview; of two stages with the same simulators no two may have one."""

    def __init__(
        self,
        *,
        fleet: LocalFleet,
        redis: RedisServer,
        livekit: LiveKitServer,
        http: httpx.AsyncClient,
        people: Crowd,
        progress: Progress,
        seed: int,
        warm: int,
        first: int = 1,
    ) -> None:
        self.fleet = fleet
        self.redis = redis
        self.livekit = livekit
        self.http = http
        self.people = people
        self.progress = progress
        self._seed = seed
        self._warm = warm
        self._numbers = itertools.count(first)
        settings = fleet.settings
        self.registry = Registry.from_settings(settings)
        self.journal = Journal.from_settings(settings)
        self.rooms = LiveKitClient.from_settings(settings)
        store = open_redis(redis.url, timeout_s=STORE_TIMEOUT_S)
        self.ledger = Ledger(store, settings.redis_namespace)

    async def aclose(self) -> None:
        for part in (self.registry, self.journal, self.rooms, self.ledger):
            await part.aclose()

    # --- interviews

    async def begin(
        self,
        *,
        provider: Provider = Provider.OPENAI_REALTIME,
        participant: Mapping[str, Any] | None = PARTICIPANT,
        interviewer: Mapping[str, Any] = INTERVIEWER,
        contract: Mapping[str, Any] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> Interview:
        """Asked for by POST /v1/sessions, and joined. ``participant`` None: nobody comes, and the
        interview's ``participant`` never tells anything. ``contract``: laid over the usual one.
        What may pass (503, no answer) is asked again for ``patience_s``. Raises DispatchFailed.
        """
        number = next(self._numbers)
        mark = f"[chaos-{number}]"
        await self.instruct(provider, mark, interviewer)
        request = _request(provider, mark, contract or {})
        asked = await self._ask_until(request, patience_s)
        name = f"p{number}"
        if participant is not None:
            who = await self.people.join(
                name,
                url=asked.answer["livekit_url"],
                token=asked.answer["participant_token"],
                script=participant,
                seed=self._seed * 1000 + number,
                t0_epoch_s=asked.at,
            )
        else:
            who = self.people.absent(name)
        return Interview(
            self,
            mark=mark,
            provider=provider,
            request=request,
            asked=asked,
            participant=who,
        )

    async def _ask_until(self, request: Mapping[str, Any], patience_s: float) -> Asked:
        ends = time.monotonic() + patience_s
        while True:
            try:
                return await self._ask(request)
            except DispatchFailed as error:
                if not error.retryable or time.monotonic() >= ends:
                    raise
            await asyncio.sleep(POLL_S)  # as a caller who was told to ask again

    async def _ask(self, request: Mapping[str, Any]) -> Asked:
        at, began = time.time(), time.monotonic()
        try:
            answer = await self.http.post("/v1/sessions", json=dict(request), timeout=POST_S)
        except httpx.HTTPError as error:
            raise _refused(type(error).__name__, retryable=True) from None
        if answer.is_error:
            raise _refused(problem_of(answer), retryable=answer.status_code >= 500)
        return Asked(answer=answer.json(), at=at, post_s=time.monotonic() - began)

    # --- simulators

    def simulator(self, provider: Provider) -> Simulator:
        return self.fleet.simulators[SIMULATORS[provider]]

    async def instruct(self, provider: Provider, mark: str, script: Mapping[str, Any]) -> None:
        """How the simulator's interviewer behaves where the instructions hold ``mark``."""
        await self._control(provider, "scripts", {"match": mark, **script})

    async def strike(self, provider: Provider, mark: str, kind: str, **fields: Any) -> None:
        """Have the simulator do something wrong, see ``loadtest.simulators.faults``."""
        await self._control(provider, "faults", {"match": mark, "kind": kind, **fields})

    async def mend(self, provider: Provider) -> None:
        """Have the simulator do nothing wrong any more."""
        url = f"{self.simulator(provider).control_url}/faults"
        (await self.http.delete(url)).raise_for_status()

    async def at_connection(self, provider: Provider, mark: str, what: str, **fields: Any) -> bool:
        """Have ``drop``, ``freeze`` or ``end`` done to the interview's connection. Whether there
        was one."""
        url = f"{self.simulator(provider).control_url}/sessions"
        live = (await self._get(url, {"match": mark}))["sessions"]
        for session in live:
            await self._control(provider, f"sessions/{session['session_id']}/{what}", fields)
        return bool(live)

    async def invoiced_pico(self, provider: Provider, mark: str) -> int:
        """Once no connection is open any more for which it could still grow."""
        url, match = self.simulator(provider).control_url, {"match": mark}

        async def closed() -> bool:
            try:
                return not (await self._get(f"{url}/sessions", match))["sessions"]
            except httpx.TransportError:
                return False

        if not await until(closed, SETTLE_S):
            raise LocalPartError(f"{provider.value}: a connection is still open at the simulator")
        return int((await self._get(f"{url}/invoices", match))["total_pico_usd"])

    async def _control(self, provider: Provider, what: str, body: Mapping[str, Any]) -> None:
        url = f"{self.simulator(provider).control_url}/{what}"
        answer = await self.http.post(url, json=dict(body))
        answer.raise_for_status()

    async def _get(self, url: str, params: Mapping[str, Any] | None = None) -> Any:
        answer = await self.http.get(url, params=dict(params or {}))
        answer.raise_for_status()
        return answer.json()

    # --- rest

    async def pool(self) -> dict[str, int] | None:
        """Actors by what they do: warm, reserved, live, starting. None: the ingress does not say so
        just now."""
        try:
            return dict((await self._get("/v1/fleet"))["actors"])
        except httpx.HTTPError:
            return None

    async def settle(self, deadline_s: float = WARM_S) -> None:
        """Returns when no interview is under way and the pool is full. Raises LocalPartError."""
        if not await until(self._at_rest, deadline_s, poll_s=POLL_S):
            raise LocalPartError(f"the fleet was not at rest within {deadline_s:g} s")

    async def _at_rest(self) -> bool:
        actors = await self.pool()
        if actors is None:
            return False
        busy = actors["live"] + actors["reserved"]
        return busy == 0 and actors["warm"] >= self._warm

    async def end_all(self, interviews: Sequence[Interview]) -> None:
        """As an operator does, and wait until they are gone."""
        await asyncio.gather(*(each.stop() for each in interviews))
        await asyncio.gather(*(each.over(SETTLE_S) for each in interviews))


@asynccontextmanager
async def open_stage(needs: Needs, progress: Progress, seed: int) -> AsyncIterator[Stage]:
    """Enter on the main thread. Raises LocalPartError or another FleetError."""
    async with AsyncExitStack() as stack:
        run = stack.enter_context(run_dir())
        [port] = free_ports(1)
        hook = f"http://127.0.0.1:{port}/v1/livekit/webhook"
        # Ours, and not the fleet's own: a fault may stop them and start them again.
        redis = await stack.enter_async_context(RedisServer(run, fsync=Fsync.ALWAYS))
        livekit = await stack.enter_async_context(
            LiveKitServer(run, webhook_urls=[hook], webhook_events=WEBHOOK_EVENTS)
        )
        stack.enter_context(environment(server_environment(redis.url, livekit.access)))
        options = StackOptions(
            settings={"warm_actors": str(needs.warm), **FLEET, **needs.settings},
            simulator_arguments={kind: ("--seed", str(seed)) for kind in SimulatorKind},
            api_port=port,
            cluster=needs.cluster,
        )
        fleet = await stack.enter_async_context(local_fleet(options, progress.tell))
        cluster.hush()
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=fleet.api_url, timeout=30.0)
        )
        people = await stack.enter_async_context(crowd(fleet.run))
        stage = Stage(
            fleet=fleet,
            redis=redis,
            livekit=livekit,
            http=http,
            people=people,
            progress=progress,
            seed=seed,
            warm=needs.warm,
        )
        stack.push_async_callback(stage.aclose)
        progress.tell("warming session actors ...")
        await people.ready()
        await stage.settle()
        yield stage


def _request(provider: Provider, mark: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "provider": provider.value,
        "instructions": f"You interview people about what they would not lose. {mark}",
        "study_id": "chaos",
        "participant": {"identity": "p-1"},
        "vad_config": {"threshold": 0.5, "silence_duration_ms": 500, "prefix_padding_ms": 300},
        "phases": [
            {"id": "warmup", "name": "Warm-up", "duration_seconds": 120},
            {"id": "core", "name": "Core questions", "duration_seconds": 120},
        ],
        "budget_limit_usd": 5.0,
        "session_timeout_seconds": 240,
        "no_show_seconds": 30,
        "reconnect_grace_seconds": 20,
        **changes,
    }


def _refused(reason: str, *, retryable: bool) -> DispatchFailed:
    return DispatchFailed(
        session_id="", step="post", cause_code="refused", reason=reason, retryable=retryable
    )
