from __future__ import annotations

import gzip
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from serve.app import create_app
from serve.pages import WebFiles, page_headers
from tests.unit.serve.conftest import client_of
from tests.unit.serve.fakes import FakeFleet

SCRIPT = b"export const answer = 42;"
SECRET = "first-key-0123456789"


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "participant.html").write_text("<h1>participant</h1>")
    (folder / "fleet.html").write_text("<h1>fleet</h1>")
    (folder / "assets" / "page-AB12.js").write_bytes(SCRIPT)
    (folder / "assets" / "page-AB12.js.gz").write_bytes(gzip.compress(SCRIPT))
    (folder / "assets" / "page-AB12.css").write_text("h1 { color: red }")
    (tmp_path / "secret.txt").write_text("not for you")
    return folder


@pytest.fixture
def app(fleet: FakeFleet, dist: Path) -> FastAPI:
    return create_app(fleet.ports(), keys=[SECRET], web=WebFiles.load(dist))


@pytest.mark.parametrize(
    ("path", "text"), [("/", "fleet"), ("/join/s-1", "participant"), ("/join/%20", "participant")]
)
async def test_each_page_is_for_whoever_asks(api: httpx.AsyncClient, path: str, text: str) -> None:
    answer = await api.get(path)
    assert answer.status_code == 200
    assert answer.text == f"<h1>{text}</h1>"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Permissions-Policy"].startswith("microphone=(self)")
    assert answer.headers["Cache-Control"] == "no-cache"


async def test_a_page_may_reach_its_own_origin_and_livekit(api: httpx.AsyncClient) -> None:
    policy = (await api.get("/join/s-1")).headers["Content-Security-Policy"]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"]
    assert rules["script-src"] == rules["style-src"] == ["'self'"]
    assert rules["connect-src"] == [
        "'self'",
        "wss://livekit.example.org",
        "https://livekit.example.org",
    ]
    assert rules["frame-ancestors"] == rules["form-action"] == rules["base-uri"] == ["'none'"]
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("url", "origins"),
    [
        ("ws://127.0.0.1:7880", "ws://127.0.0.1:7880 http://127.0.0.1:7880"),
        ("wss://h.example/livekit?x=1", "wss://h.example https://h.example"),
    ],
)
def test_livekit_is_allowed_by_origin(url: str, origins: str) -> None:
    assert f"connect-src 'self' {origins};" in page_headers(url)["Content-Security-Policy"]


async def test_assets_are_kept_for_ever(api: httpx.AsyncClient) -> None:
    answer = await api.get("/assets/page-AB12.js", headers={"Accept-Encoding": "identity"})
    assert answer.content == SCRIPT
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert "immutable" in answer.headers["Cache-Control"]
    assert "Content-Encoding" not in answer.headers
    style = await api.get("/assets/page-AB12.css")
    assert style.headers["Content-Type"].startswith("text/css")


async def test_assets_come_compressed_to_who_takes_that(api: httpx.AsyncClient) -> None:
    answer = await api.get("/assets/page-AB12.js", headers={"Accept-Encoding": "br, gzip;q=0.8"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.content == SCRIPT


@pytest.mark.parametrize(
    "path",
    [
        "/assets/nothing.js",
        "/assets/page-AB12.js.gz",
        "/assets/..%2Ffleet.html",
        "/assets/..%2F..%2Fsecret.txt",
        "/assets/%2e%2e/secret.txt",
        "/assets/",
    ],
)
async def test_nothing_else_is_served(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert answer.status_code == 404
    assert "not for you" not in answer.text


async def test_pages_that_were_not_built_say_so_and_the_api_works(
    fleet: FakeFleet, tmp_path: Path
) -> None:
    async with client_of(create_app(fleet.ports(), web=WebFiles.load(tmp_path / "none"))) as api:
        answer = await api.get("/join/s-1")
        assert answer.status_code == 503
        assert answer.json()["code"] == "pages_missing"
        assert "fleet.local.web" in answer.json()["detail"]
        assert (await api.get("/v1/fleet")).status_code == 200
