"""The API as a backend uses it: HTTP to Ray Serve, over real Ray, Redis and LiveKit.

Session actors are scripted ones (see ``scripted_actor``).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from math import ceil
from typing import Any

import httpx
import jwt
import pytest
from livekit import api
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from agent_actor.contract import SessionId
from agent_actor.journal import EventKind, LiveState
from agent_actor.journal_writer import JournalWriter
from fleet.control import start_control_plane, stop_control_plane
from fleet.crew import ActorSpec
from fleet.errors import SettingsInvalid
from fleet.local.livekit import LiveKitAccess
from fleet.local.ray_cluster import RayCluster
from fleet.settings import FleetSettings
from serve.body import MAX_JSON_BYTES
from tests.integration import interviews
from tests.integration.scripted_actor import SPENT_PICO_USD
from tests.integration.terminal import SHOWS_CURSOR, at_terminal
from tests.integration.test_control_plane import SCRIPTED, settings_for, until


def contract(**changes: Any) -> dict[str, Any]:
    """Nobody ever comes to these sessions; the reaper must not end them for that."""
    return interviews.contract(**{"no_show_seconds": 600, **changes})


with warnings.catch_warnings():
    # Ray Serve's own models warn when they are made, under this pydantic.
    warnings.simplefilter("ignore", DeprecationWarning)
    from serve.ingress import start_ingress, stop_ingress

KEY = "key-for-these-tests-0001"
OLD_KEY = "key-being-replaced-0000"
SLOTS = 3
PICO_PER_MICRO = 1_000_000
SPENT_MICRO_USD = -(-SPENT_PICO_USD // PICO_PER_MICRO)


@contextmanager
def serving(settings: FleetSettings, actor: ActorSpec, **options: Any) -> Iterator[str]:
    """A control plane and an ingress before it; the URL of the ingress."""
    try:
        asyncio.run(start_control_plane(settings, actor=actor))
        try:
            yield start_ingress(settings, port=0, **options).url
        finally:
            stop_ingress()
    finally:
        asyncio.run(stop_control_plane(settings, goodbye_s=0.5))


@pytest.fixture(scope="module")
def settings(
    ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess
) -> FleetSettings:
    return settings_for(
        shared_redis,
        livekit_server,
        api_key=SecretStr(f"{KEY},{OLD_KEY}"),
        max_sessions=SLOTS,
        warm_actors=1,
        full_retry_after_s=7.0,
    )


@pytest.fixture(scope="module")
def ingress(settings: FleetSettings) -> Iterator[str]:
    with serving(settings, SCRIPTED) as url:
        yield url


def client_of(url: str, key: str = KEY) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=60)


@pytest.fixture
async def backend(ingress: str) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with a key, in a fleet where an actor is warm. Its sessions end with the test."""
    async with client_of(ingress) as client:
        await until(lambda: is_ready(client), within_s=90, poll_s=0.2)
        yield client
        await _end_all(client)


async def is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


async def _end_all(client: httpx.AsyncClient) -> None:
    async def none_left() -> bool:
        sessions = (await client.get("/v1/sessions", params={"limit": 200})).json()["sessions"]
        left = [s for s in sessions if s["state"] != "gone"]
        for session in left:
            await client.delete(f"/v1/sessions/{session['session_id']}")
        return not left

    await until(none_left, within_s=30, poll_s=0.2)


async def gone(client: httpx.AsyncClient, session_id: str, *, within_s: float = 20) -> Any:
    async def record() -> Any:
        said = (await client.get(f"/v1/sessions/{session_id}")).json()
        return said if said["state"] == "gone" else None

    return await until(record, within_s=within_s)


async def create(client: httpx.AsyncClient, **options: Any) -> Any:
    body = contract(study_id="study-7", participant={"identity": "p-1", "name": "Ann"})
    answer = await client.post("/v1/sessions", json=body, **options)
    assert answer.status_code in (201, 202), answer.text
    return answer.json()


async def stream(
    client: httpx.AsyncClient, session_id: str, events: list[Any] | None = None, **headers: str
) -> list[Any]:
    """All events of a stream until it ends, as (event, id, data); in ``events`` as they come."""
    events = [] if events is None else events
    accept = {"Accept": "text/event-stream", **headers}
    async with client.stream("GET", f"/v1/sessions/{session_id}/events", headers=accept) as got:
        assert got.headers["Content-Type"].startswith("text/event-stream")
        block: dict[str, str] = {}
        async for line in got.aiter_lines():
            name, _, value = line.partition(": ")
            if line:
                block[name] = value
            elif block.get("event"):
                events.append((block["event"], block.get("id"), json.loads(block["data"])))
                block = {}
            else:
                block = {}
    return events


class TestOneSession:
    async def test_from_post_to_its_end(
        self, backend: httpx.AsyncClient, settings: FleetSettings
    ) -> None:
        made = await create(backend)
        assert made["state"] == "joined"
        assert made["livekit_url"] == settings.livekit_url
        steps = {"validate", "claim", "reserve", "budget", "room", "join", "connect"}
        assert set(made["timings_ms"]) == steps
        claims = jwt.decode(made["participant_token"], options={"verify_signature": False})
        assert (claims["sub"], claims["video"]["room"]) == ("p-1", made["room"])
        assert claims["name"] == "Ann"
        assert claims["video"]["canPublishSources"] == ["microphone"]
        url = made["links"]["self"]
        fleet = (await backend.get("/v1/fleet")).json()
        assert fleet["actors"]["live"] == 1
        assert fleet["slots"] == {"total": SLOTS, "free": SLOTS - 1}
        assert fleet["sessions"]["joined"] == 1
        ended = await backend.delete(url)
        assert ended.status_code == 202
        record = await gone(backend, made["session_id"])
        assert record["end_reason"] == "operator"
        assert record["spent_micro_usd"] == SPENT_MICRO_USD
        cost = (await backend.get(made["links"]["cost"])).json()
        assert (cost["spent_micro_usd"], cost["closed"]) == (SPENT_MICRO_USD, True)
        assert sum(m["micro_usd"] for m in cost["minutes"]) == SPENT_MICRO_USD
        assert cost["tokens"]["output_audio"] == 200
        study = (await backend.get("/v1/studies/study-7/cost")).json()
        assert study["spent_micro_usd"] >= SPENT_MICRO_USD
        assert (await backend.delete(url)).status_code == 200

    async def test_respond_async(self, backend: httpx.AsyncClient) -> None:
        made = await create(backend, headers={"Prefer": "respond-async"})
        assert made["participant_token"]

        async def joined() -> bool:
            record = (await backend.get(made["links"]["self"])).json()
            return record["state"] == "joined"

        await until(joined)

    async def test_one_key_is_one_session_however_often_it_is_sent(
        self, backend: httpx.AsyncClient
    ) -> None:
        body = contract(study_id="study-8")
        headers = {"Idempotency-Key": "visit/1"}
        answers = await asyncio.gather(
            *(backend.post("/v1/sessions", json=body, headers=headers) for _ in range(5))
        )
        assert sorted(a.status_code for a in answers) == [200, 200, 200, 200, 201]
        assert len({a.json()["session_id"] for a in answers}) == 1
        other = await backend.post("/v1/sessions", json=body | {"language": "de"}, headers=headers)
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")

    async def test_a_caller_who_hangs_up_finds_the_session_when_it_asks_again(
        self, backend: httpx.AsyncClient, ingress: str
    ) -> None:
        for visit in range(SLOTS):
            body, headers = contract(), {"Idempotency-Key": f"hung-up/{visit}"}
            async with client_of(ingress) as other:
                call = asyncio.create_task(other.post("/v1/sessions", json=body, headers=headers))
                # At another moment of the start each time, as it happens.
                await until(lambda n=visit: _more_than(backend, n), poll_s=0.005)
                call.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await call
            again = await backend.post("/v1/sessions", json=body, headers=headers)
            assert again.status_code == 200
            assert again.json()["state"] == "joined", again.text

    async def test_full_is_503_with_retry_after_and_leaves_nothing(
        self, backend: httpx.AsyncClient
    ) -> None:
        for _ in range(SLOTS):
            await create(backend)
        refused = await backend.post("/v1/sessions", json=contract())
        assert (refused.status_code, refused.json()["code"]) == (503, "fleet_full")
        # The setting, until how long sessions last is known; then no longer than it is estimated.
        estimate_s = refused.json().get("estimated_wait_s")
        after_s = int(refused.headers["Retry-After"])
        assert after_s == 7 if estimate_s is None else 1 <= after_s <= max(1, ceil(estimate_s))
        assert refused.json()["retryable"] is True
        live = (await backend.get("/v1/sessions", params={"state": "joined"})).json()["sessions"]
        assert len(live) == SLOTS
        waiting = await backend.get("/v1/sessions", params={"state": "queued"})
        assert waiting.json()["sessions"] == []

    async def test_a_split_gives_a_participant_the_same_provider_each_time(
        self, backend: httpx.AsyncClient
    ) -> None:
        body = contract(participant_identity="p-9") | {
            "provider": {"openai_realtime": 0.5, "gemini_live": 0.5}
        }
        given = set()
        for _ in range(2):
            answer = await backend.post("/v1/sessions", json=body)
            given.add(answer.json()["provider"])
        assert len(given) == 1

    async def test_pages_hold_every_session_once(self, backend: httpx.AsyncClient) -> None:
        made = [(await create(backend))["session_id"] for _ in range(SLOTS)]
        found: list[str] = []
        url: str | None = "/v1/sessions?limit=1&state=joined"
        while url is not None:
            page = await backend.get(url)
            found += [s["session_id"] for s in page.json()["sessions"]]
            link = page.headers.get("Link")
            url = link.partition(">")[0].removeprefix("<") if link else None
        assert found == made[::-1]


async def _more_than(client: httpx.AsyncClient, count: int) -> bool:
    sessions = (await client.get("/v1/sessions")).json()["sessions"]
    return len([s for s in sessions if s["state"] != "gone"]) > count


async def _is_long(items: list[Any], length: int) -> bool:
    return len(items) >= length


async def _open_streams(client: httpx.AsyncClient) -> float:
    text = (await client.get("/metrics")).text
    families = {f.name: f for f in text_string_to_metric_families(text)}
    return float(families["ingress_event_streams"].samples[0].value)


class TestJournal:
    @pytest.fixture
    async def told(
        self, backend: httpx.AsyncClient, settings: FleetSettings
    ) -> AsyncIterator[tuple[str, JournalWriter]]:
        """A session and the writer of its journal, which the scripted actor has none of."""
        session_id = (await create(backend))["session_id"]
        writer = JournalWriter(
            settings.redis_url, settings.redis_namespace, SessionId(session_id), 1
        ).start()
        yield session_id, writer
        await writer.aclose()

    async def test_a_stream_follows_the_session_to_its_end_and_resumes(
        self, backend: httpx.AsyncClient, told: tuple[str, JournalWriter]
    ) -> None:
        session_id, writer = told
        writer.record(EventKind.PHASE, phase_id="warmup", cause="started")
        seen: list[Any] = []
        following = asyncio.create_task(stream(backend, session_id, seen))
        await until(lambda: _is_long(seen, 1))
        writer.record(EventKind.TURN, speaker="participant", text="Guten Tag\n– ja")
        await writer.aclose()
        await backend.delete(f"/v1/sessions/{session_id}")
        events = await asyncio.wait_for(following, 20)
        assert [name for name, _, _ in events] == ["phase", "turn", "end"]
        assert events[1][2]["data"]["text"] == "Guten Tag\n– ja"
        assert events[-1][2]["end_reason"] == "operator"
        rest = await stream(backend, session_id, **{"Last-Event-ID": events[0][1]})
        assert rest == events[1:]
        done = await backend.get(
            f"/v1/sessions/{session_id}/events",
            headers={"Accept": "text/event-stream", "Last-Event-ID": events[1][1]},
        )
        assert done.status_code == 204

    async def test_a_stream_that_nobody_reads_any_more_is_let_go(
        self, backend: httpx.AsyncClient, told: tuple[str, JournalWriter]
    ) -> None:
        session_id, writer = told
        writer.record(EventKind.PHASE, phase_id="warmup", cause="started")
        seen: list[Any] = []
        following = asyncio.create_task(stream(backend, session_id, seen))
        await until(lambda: _is_long(seen, 1))
        assert await _open_streams(backend) == 1
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following

        async def none_open() -> bool:
            return await _open_streams(backend) == 0

        await until(none_open)

    async def test_erasing_takes_the_words_at_once_and_for_good_and_leaves_the_money(
        self, backend: httpx.AsyncClient, told: tuple[str, JournalWriter]
    ) -> None:
        session_id, writer = told
        writer.record(EventKind.TURN, speaker="participant", text="my name is Ann")

        async def written() -> bool:
            said = (await backend.get(f"/v1/sessions/{session_id}/transcript")).json()
            return len(said["turns"]) == 1

        await until(written)
        erased = await backend.delete(f"/v1/sessions/{session_id}", params={"erase": "true"})
        assert erased.status_code == 200, erased.text
        session = erased.json()["session"]
        assert (session["state"], session["end_reason"]) == ("gone", "operator")
        assert session["erased_at"]
        assert session["participant_identity"] == ""
        writer.record(EventKind.TURN, speaker="participant", text="too late")
        await writer.aclose()
        transcript = await backend.get(f"/v1/sessions/{session_id}/transcript")
        assert transcript.json()["turns"] == []
        events = await backend.get(f"/v1/sessions/{session_id}/events")
        assert events.json()["events"] == []
        cost = (await backend.get(f"/v1/sessions/{session_id}/cost")).json()
        assert cost["spent_micro_usd"] == SPENT_MICRO_USD


class TestDoor:
    @pytest.mark.parametrize(("key", "status"), [(KEY, 200), (OLD_KEY, 200), ("wrong", 401)])
    async def test_keys(self, ingress: str, key: str, status: int) -> None:
        async with client_of(ingress, key) as client:
            answer = await client.get("/v1/sessions")
        assert answer.status_code == status
        assert ("WWW-Authenticate" in answer.headers) is (status == 401)

    async def test_health_needs_none(self, ingress: str) -> None:
        async with httpx.AsyncClient(base_url=ingress) as client:
            assert (await client.get("/healthz")).json() == {"status": "ok"}

    async def test_bad_bodies(self, backend: httpx.AsyncClient) -> None:
        as_json = {"Content-Type": "application/json"}
        large = await backend.post(
            "/v1/sessions", content=b" " * (MAX_JSON_BYTES + 1), headers=as_json
        )
        assert (large.status_code, large.json()["code"]) == (413, "body_too_large")
        half = await backend.post("/v1/sessions", content=b'{"provider":', headers=as_json)
        assert (half.status_code, half.json()["code"]) == (400, "body_not_json")
        wrong = await backend.post("/v1/sessions", json=contract(model="gpt-9-realtime"))
        assert (wrong.status_code, wrong.json()["code"]) == (422, "model_unpriced")

    async def test_webhooks_are_taken_from_this_livekit_only(
        self, backend: httpx.AsyncClient, ingress: str, settings: FleetSettings
    ) -> None:
        made = await create(backend)
        event = {"event": "room_finished", "id": "EV_1", "room": {"name": made["room"]}}
        body = json.dumps(event, indent=1).encode()
        async with httpx.AsyncClient(base_url=ingress) as livekit:
            for secret, changed, status in (
                ("another-secret-of-32-characters-", b"", 401),
                (settings.livekit_api_secret.get_secret_value(), b" ", 401),
                (settings.livekit_api_secret.get_secret_value(), b"", 200),
            ):
                digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
                token = api.AccessToken(settings.livekit_api_key, secret).with_sha256(digest)
                answer = await livekit.post(
                    "/v1/livekit/webhook",
                    content=body + changed,
                    headers={
                        "Authorization": token.to_jwt(),
                        "Content-Type": "application/webhook+json",
                    },
                )
                assert answer.status_code == status, answer.text
        assert (await gone(backend, made["session_id"]))["end_reason"] == "operator"

    async def test_metrics_of_ingress_and_control_actors_are_one_exposition(
        self, backend: httpx.AsyncClient
    ) -> None:
        await create(backend)
        text = (await backend.get("/metrics")).text
        families = {f.name: f for f in text_string_to_metric_families(text)}
        types = [line for line in text.splitlines() if line.startswith("# TYPE")]
        assert len(types) == len(set(types))
        slots = families["fleet_slots"].samples[0].value
        assert slots == SLOTS
        warmed = [s for s in families["fleet_actor_warm_seconds"].samples if "_count" in s.name]
        assert warmed[0].value >= 1

    async def test_not_on_the_network_without_a_key(self, settings: FleetSettings) -> None:
        open_settings = settings.model_copy(update={"api_key": None})
        with pytest.raises(SettingsInvalid, match="FLEET_API_KEY"):
            start_ingress(open_settings, host="0.0.0.0")


class TestOwnIngress:
    """Each starts an ingress of its own, after those that share one."""

    async def test_sessions_outlive_the_ingress(
        self, backend: httpx.AsyncClient, settings: FleetSettings
    ) -> None:
        made = await create(backend, headers={"Idempotency-Key": "visit/3"})
        await asyncio.to_thread(stop_ingress)
        with pytest.raises(httpx.TransportError):
            await backend.get("/healthz")
        port = backend.base_url.port
        address = await asyncio.to_thread(start_ingress, settings, port=port)
        assert address.port == port
        found = (await backend.get(made["links"]["self"])).json()
        assert found["state"] == "joined"
        again = await backend.post(
            "/v1/sessions",
            json=contract(study_id="study-7", participant={"identity": "p-1", "name": "Ann"}),
            headers={"Idempotency-Key": "visit/3"},
        )
        assert again.status_code == 200
        assert again.json()["session_id"] == made["session_id"]

    async def test_nothing_behind_it(
        self, backend: httpx.AsyncClient, settings: FleetSettings, livekit_server: LiveKitAccess
    ) -> None:
        nowhere = settings.model_copy(
            update={"livekit_url": "ws://127.0.0.1:1", "ray_namespace": "t-nothing"}
        )
        port = backend.base_url.port
        try:
            await asyncio.to_thread(start_ingress, nowhere, port=port)
            answer = await backend.get("/readyz")
            assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
            failing = {c["name"] for c in answer.json()["checks"] if not c["ready"]}
            assert failing == {"roster", "livekit", "warm"}
            refused = await backend.post("/v1/sessions", json=contract())
            assert refused.status_code == 503
            assert refused.json()["retryable"] is True
            page = await backend.get("/v1/sessions", params={"state": "queued"})
            assert page.json()["sessions"] == []
        finally:
            await asyncio.to_thread(start_ingress, settings, port=port)


class TestTop:
    """``fleet top`` on this fleet."""

    COMMAND = (sys.executable, "-c", "from fleet.cli import main; main()", "top")

    async def test_draws_anew_and_leaves_its_terminal_as_it_was(
        self, backend: httpx.AsyncClient, settings: FleetSettings
    ) -> None:
        session_id = (await create(backend))["session_id"]
        writer = JournalWriter(
            settings.redis_url, settings.redis_namespace, SessionId(session_id), 1
        ).start()
        async with aclosing(writer):
            await self._looked_at(backend, session_id, writer)

    async def _looked_at(
        self, backend: httpx.AsyncClient, session_id: str, writer: JournalWriter
    ) -> None:
        writer.live(LiveState(state="live", phase_id="core", phase_index=1, phase_count=3))
        command = (*self.COMMAND, "--api", str(backend.base_url), "--interval", "0.5")
        async with at_terminal(command, {"FLEET_API_KEY": KEY}) as terminal:
            await terminal.shows(session_id)
            await terminal.shows("2/3 core")
            terminal.press("s")
            await terminal.shows("by limit")
            await backend.delete(f"/v1/sessions/{session_id}")
            await gone(backend, session_id)
            terminal.drawn = ""
            await terminal.shows("q: quit")
            terminal.press("q")
            assert await terminal.ended() == 0
            assert SHOWS_CURSOR in terminal.drawn

    async def test_without_a_terminal_is_one_frame(self, backend: httpx.AsyncClient) -> None:
        session_id = (await create(backend))["session_id"]
        code, said, _ = await self._run(backend, KEY)
        assert code == 0
        assert session_id in said
        assert "\x1b" not in said

    @pytest.mark.parametrize("key", ["wrong-key-wrong-key", ""])
    async def test_a_refusal_is_one_line(self, backend: httpx.AsyncClient, key: str) -> None:
        code, said, errors = await self._run(backend, key)
        assert (code, said) == (1, "")
        assert errors.startswith("error: HTTP 401")
        assert errors.count("\n") == 1

    async def _run(self, backend: httpx.AsyncClient, key: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(*self.COMMAND, "--api", str(backend.base_url)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "FLEET_API_KEY": key},
        )
        said, errors = await process.communicate()
        return process.returncode, said.decode(), errors.decode()
