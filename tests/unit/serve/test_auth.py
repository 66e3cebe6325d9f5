from __future__ import annotations

import hmac

import httpx
import pytest
from fastapi import FastAPI

from serve.app import create_app
from serve.auth import KeyRing, is_loopback, may_listen
from tests.unit.serve.conftest import client_of
from tests.unit.serve.fakes import FakeFleet

KEYS = ("first-key-0123456789", "second-key-0123456789")
GUARDED = [
    ("GET", "/v1/sessions"),
    ("POST", "/v1/sessions"),
    ("GET", "/v1/sessions/s-1"),
    ("DELETE", "/v1/sessions/s-1"),
    ("GET", "/v1/sessions/s-1/cost"),
    ("GET", "/v1/sessions/s-1/cost.csv"),
    ("GET", "/v1/sessions/s-1/cost/stream"),
    ("PATCH", "/v1/sessions/s-1/limit"),
    ("POST", "/v1/sessions/s-1/observers"),
    ("PATCH", "/v1/studies/s/limit"),
    ("GET", "/v1/sessions/s-1/events"),
    ("GET", "/v1/sessions/s-1/transcript"),
    ("GET", "/v1/studies/s/cost"),
    ("GET", "/v1/studies/s/cost.csv"),
    ("GET", "/v1/fleet"),
    ("POST", "/v1/fleet/drain"),
    ("DELETE", "/v1/fleet/drain"),
    ("GET", "/v1/nodes"),
    ("POST", "/v1/nodes/n/drain"),
    ("DELETE", "/v1/nodes/n/drain"),
    ("GET", "/v1/fleet/stream"),
    ("GET", "/v1/sessions/s-1/stream"),
    ("GET", "/v1/studies/s/stream"),
    ("GET", "/v1/studies/s/comparison"),
    ("GET", "/v1/contract/schema"),
    ("GET", "/metrics"),
]


@pytest.fixture
def app(fleet: FakeFleet) -> FastAPI:
    return create_app(fleet.ports(), keys=KEYS)


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_without_a_key_every_guarded_route_says_401(
    api: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await api.request(method, path)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="interview-fleet"'
    assert answer.json()["code"] == "key_missing"


async def test_the_guarded_routes_are_all_but_those_with_another_proof(
    app: FastAPI,
) -> None:
    paths = app.openapi()["paths"]
    all_routes = {(method.upper(), path) for path, ops in paths.items() for method in ops}
    names = {"s-1": "{session_id}", "/s/": "/{study_id}/", "/n/": "/{node}/"}
    named = set()
    for method, path in GUARDED:
        for name, parameter in names.items():
            path = path.replace(name, parameter)
        named.add((method, path))
    assert all_routes - named == {
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("POST", "/v1/livekit/webhook"),
        ("GET", "/join/{session_id}/state"),
    }
    guarded = {
        (method.upper(), path)
        for path, ops in paths.items()
        for method, operation in ops.items()
        if {"HTTPBearer": []} in operation.get("security", [])
    }
    assert guarded == named


async def test_a_wrong_key_is_told_so(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/fleet", headers={"Authorization": "Bearer third-key"})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert "third-key" not in answer.text


@pytest.mark.parametrize("header", ["Basic dTpw", "Bearer", f"Token {KEYS[0]}", KEYS[0]])
async def test_another_scheme_is_no_key(api: httpx.AsyncClient, header: str) -> None:
    answer = await api.get("/v1/fleet", headers={"Authorization": header})
    assert answer.status_code == 401


@pytest.mark.parametrize("key", KEYS)
async def test_each_key_opens_while_one_replaces_the_other(
    api: httpx.AsyncClient, key: str
) -> None:
    answer = await api.get("/v1/fleet", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_need_no_key(api: httpx.AsyncClient, path: str) -> None:
    assert (await api.get(path)).status_code == 200


async def test_the_key_is_asked_for_before_the_body_is_read(api: httpx.AsyncClient) -> None:
    answer = await api.post(
        "/v1/sessions", content=b"x" * 10_000_000, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 401


async def test_open_ingress_answers_to_loopback_names_only(fleet: FakeFleet) -> None:
    async with client_of(create_app(fleet.ports())) as api:
        assert (await api.get("/v1/fleet")).status_code == 200
        rebound = await api.get("/v1/fleet", headers={"Host": "evil.example:8000"})
    assert rebound.status_code == 421
    assert rebound.json()["code"] == "host_not_allowed"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2:8000", True),
        ("localhost", True),
        ("LOCALHOST:80", True),
        ("[::1]:8000", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_without_a_key_it_listens_on_loopback_only() -> None:
    assert may_listen("127.0.0.1", KeyRing([]))
    assert not may_listen("0.0.0.0", KeyRing([]))
    assert not may_listen("0.0.0.0", KeyRing([""]))
    assert may_listen("0.0.0.0", KeyRing(KEYS))


def test_a_key_ring_shows_no_key() -> None:
    ring = KeyRing(KEYS)
    assert not any(key in repr(vars(ring)) for key in KEYS)


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever matches, and however much of it: over digests, so that no length shows either."""
    compared: list[tuple[bytes, bytes]] = []
    really = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return really(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    ring = KeyRing(KEYS)
    for presented, held in (
        (KEYS[0], True),
        (KEYS[1], True),
        (KEYS[0][:-1], False),
        ("", False),
        ("x" * 10_000, False),
    ):
        compared.clear()
        assert ring.holds(presented) is held
        assert len(compared) == len(KEYS)
        assert {len(side) for pair in compared for side in pair} == {32}
