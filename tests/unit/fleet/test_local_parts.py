from __future__ import annotations

import json
import pickle
import socket
from pathlib import Path

import pytest

from fleet.local import processes
from fleet.local.errors import LocalPartError, PartExited, PartNotReady
from fleet.local.livekit import LiveKitAccess, livekit_from_environment
from fleet.local.simulators import read_ready_line

READY = {"ready": True, "provider": "openai", "base_url": "http://b", "control_url": "http://c"}


@pytest.mark.parametrize(
    "error", [PartExited("redis", 1, Path("log")), PartNotReady("redis", 2.5, Path("log"))]
)
def test_error_tells_the_same_on_the_other_side_of_a_pickle(error: LocalPartError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert "redis" in str(copy)


def test_free_ports_are_different_and_free() -> None:
    ports = processes.free_ports(5)
    assert len(set(ports)) == 5
    for port in ports:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", port))


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_taken_port_is_not_offered(kind: socket.SocketKind) -> None:
    [first] = processes.free_ports(1, seed=7)
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", first))
        assert processes.free_ports(1, seed=7) != [first]


def test_ready_line_gives_the_addresses() -> None:
    assert read_ready_line("sim", json.dumps(READY))["base_url"] == "http://b"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Traceback",
        "[]",
        "3",
        json.dumps(READY | {"ready": False}),
        json.dumps({key: READY[key] for key in ("ready", "base_url")}),
    ],
)
def test_other_line_is_refused_by_the_name_of_the_simulator(line: str) -> None:
    with pytest.raises(LocalPartError, match="sim said"):
        read_ready_line("sim", line)


def test_no_livekit_url_means_a_server_of_our_own() -> None:
    assert livekit_from_environment() is None


def test_livekit_of_the_environment_is_taken_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_URL", "wss://example.org")
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "secret")
    access = livekit_from_environment()
    assert access == LiveKitAccess(url="wss://example.org", api_key="key", api_secret="secret")
    assert "secret'" not in repr(access)


def test_livekit_of_the_environment_needs_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_URL", "wss://example.org")
    with pytest.raises(LocalPartError, match="LIVEKIT_API_KEY"):
        livekit_from_environment()
