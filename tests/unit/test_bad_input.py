"""Whatever others write is read, or refused with a typed error: never a crash, never a 500.

Thousands of cases, and whole sessions, are the chaos fault ``fuzz``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from livekit import api
from pydantic import SecretStr

from agent_actor.contract import (
    ContractInvalid,
    ContractTooLarge,
    SessionConfig,
    parse_tolerant,
)
from agent_actor.metering import Meter
from agent_actor.providers.gemini_wire import GeminiWire
from agent_actor.providers.openai_wire import OpenAIWire
from agent_actor.rates import load_rates
from agent_actor.wire_events import ConnectionLost
from fleet.bench import bad_input as bad
from fleet.bridge.contracts import check_profiles, contract_of
from fleet.bridge.protocol import JobOffer
from fleet.bridge.wire import decode
from fleet.errors import JobConfigInvalid, WebhookRejected
from fleet.livekit_client import LiveKitClient, WebhookEvent
from serve.app import create_app
from tests.unit.serve.conftest import client_of
from tests.unit.serve.fakes import FakeFleet, record

QUICK = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
KEY, SECRET = "devkey", "a-secret-of-at-least-thirty-two-bytes"
TODAY = date(2026, 11, 23)
RATES = load_rates()
PROFILES = check_profiles({"standard": bad.CONTRACT}, "standard")


@QUICK
@given(bad.texts(bad.CONTRACT))
def test_room_metadata(text: str) -> None:
    try:
        config = parse_tolerant(text)
    except ContractTooLarge:
        return
    except ContractInvalid as error:
        names = [problem.field for problem in error.problems]
    else:
        assert config.budget_limit_micro_usd >= 0
        return
    assert names


@QUICK
@given(bad.texts({**bad.CONTRACT, "profile": "standard"}), bad.texts(bad.CONTRACT), st.text())
def test_job_metadata(job: str, room: str, identity: str) -> None:
    offer = JobOffer(
        job_id="j",
        dispatch_id="d",
        room="r",
        room_sid="RM",
        metadata=job,
        room_metadata=room,
        participant_identity=identity or None,
    )
    try:
        found = contract_of(offer, PROFILES)
    except JobConfigInvalid:
        return
    assert isinstance(found.config, SessionConfig)


@QUICK
@given(st.binary(max_size=300))
def test_what_the_livekit_server_sends_a_worker(data: bytes) -> None:
    decode(data)


def _fed(meter: Meter, wire: Any, messages: list[dict[str, Any]]) -> None:
    spent = 0
    for message in messages:
        for event in wire.read(message):
            meter.feed(event)
            assert meter.spent_pico >= spent
            assert meter.estimate_pico >= 0
            assert meter.at_risk_pico >= 0
            spent = meter.spent_pico
    meter.feed(ConnectionLost())
    assert type(meter.spent_pico) is int
    assert meter.spent_pico >= spent
    assert not meter.responding


@QUICK
@given(bad.streams(bad.OPENAI_EVENTS))
def test_openais_events(messages: list[dict[str, Any]]) -> None:
    rate = RATES.rate_for("openai_realtime", "gpt-realtime", TODAY)
    transcription = RATES.transcription_rate_for("whisper-1", TODAY)
    _fed(Meter(rate=rate, transcription=transcription), OpenAIWire(), messages)


@QUICK
@given(bad.streams(bad.GEMINI_MESSAGES))
def test_geminis_messages(messages: list[dict[str, Any]]) -> None:
    _fed(Meter(rate=RATES.rate_for("gemini_live", None, TODAY)), GeminiWire(), messages)


def _signed(body: bytes) -> str:
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return api.AccessToken(KEY, SECRET).with_sha256(digest).to_jwt()


@QUICK
@given(bad.raw(bad.WEBHOOK), st.none() | st.just("signed") | st.text(max_size=200))
def test_webhooks(body: bytes, authorization: str | None) -> None:
    client = LiveKitClient(url="ws://127.0.0.1:1", api_key=KEY, api_secret=SecretStr(SECRET))
    is_ours = authorization == "signed"
    try:
        event = client.verify_webhook(body, _signed(body) if is_ours else authorization)
    except WebhookRejected:
        return
    assert is_ours
    assert isinstance(event, WebhookEvent)


# The API


class Api:
    """One ingress, in one loop, over a fleet that has one session."""

    def __init__(self, runner: asyncio.Runner) -> None:
        fleet = FakeFleet()
        fleet.sessions.put(record())
        self._runner = runner
        self._client = client_of(create_app(fleet.ports()))

    def ask(self, method: str, path: str, **request: Any) -> None:
        """A success comes of it, or a problem document that names what is wrong."""
        _is_answer(self._runner.run(self._client.request(method, path, **request)))


@pytest.fixture(scope="module")
def asked() -> Iterator[Api]:
    with asyncio.Runner() as runner:
        yield Api(runner)


def _is_answer(answer: httpx.Response) -> None:
    if answer.status_code < 400:
        return
    problem = answer.json()
    assert answer.status_code < 500, problem
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (problem["status"], bool(problem["code"])) == (answer.status_code, True)
    if answer.status_code == 422:
        assert all("field" in each and each["problem"] for each in problem["errors"])
        assert problem["errors"]


JSON = st.just("application/json")


@QUICK
@given(
    body=bad.raw(bad.BODY),
    media_type=JSON | JSON | JSON | bad.HEADER_TEXTS,
    key=st.none() | bad.HEADER_TEXTS,
    prefer=st.none() | st.just("respond-async") | bad.HEADER_TEXTS,
)
def test_a_body_that_asks_for_a_session(
    asked: Api, body: bytes, media_type: str, key: str | None, prefer: str | None
) -> None:
    given_headers = {"Content-Type": media_type, "Idempotency-Key": key, "Prefer": prefer}
    headers = [(n.encode(), v.encode("latin-1")) for n, v in given_headers.items() if v is not None]
    asked.ask("POST", "/v1/sessions", content=body, headers=headers)


LIMIT = st.one_of(
    st.builds(lambda name, value: {name: value}, st.sampled_from(("limit_usd",)), bad.SCALARS),
    st.builds(lambda value: {"limit_micro_usd": value}, bad.SCALARS),
    st.builds(lambda mantissa, e: {"limit_usd": f"{mantissa}e{e}"}, st.integers(), st.integers()),
    bad.mutated({"limit_usd": "2.50"}),
)


@QUICK
@given(body=LIMIT, path=st.sampled_from(("/v1/sessions/s-1/limit", "/v1/studies/s/limit")))
def test_a_body_that_sets_a_limit(asked: Api, body: Any, path: str) -> None:
    headers = {"Content-Type": "application/json"}
    asked.ask("PATCH", path, content=json.dumps(body).encode(), headers=headers)


PATHS = (
    "/v1/sessions",
    "/v1/sessions/{}",
    "/v1/sessions/{}/cost",
    "/v1/sessions/{}/cost.csv",
    "/v1/sessions/{}/transcript",
    "/v1/studies/{}/cost",
    "/v1/studies/{}/cost.csv",
)
PARAMETERS = ("limit", "cursor", "state", "study_id", "erase", "after", "before", "from", "x")


@QUICK
@given(
    method=st.sampled_from(("GET", "GET", "GET", "DELETE", "POST", "PATCH", "PUT")),
    path=st.sampled_from(PATHS),
    identity=st.just("s-1") | st.text(max_size=80),
    query=st.dictionaries(st.sampled_from(PARAMETERS), st.text(max_size=60) | bad.ODD_TEXTS),
    event_id=st.none() | bad.HEADER_TEXTS,
)
def test_paths_and_parameters(
    asked: Api,
    method: str,
    path: str,
    identity: str,
    query: dict[str, str],
    event_id: str | None,
) -> None:
    headers = [] if event_id is None else [(b"Last-Event-ID", event_id.encode("latin-1"))]
    short = {name: value[:2_000] for name, value in query.items()}
    where = path.format(quote(identity, safe="", errors="replace"))
    asked.ask(method, f"{where}?{urlencode(short, errors='replace')}", headers=headers)
