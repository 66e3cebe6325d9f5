from __future__ import annotations

import pytest

from agent_actor.contract import Provider
from fleet.dispatch_plan import ROOM_PREFIX
from serve.wiring import providers_of, session_of_room


def test_a_room_is_its_sessions_by_name() -> None:
    assert session_of_room(f"{ROOM_PREFIX}s-1") == "s-1"
    assert session_of_room("lobby") is None
    assert session_of_room(ROOM_PREFIX) is None


def test_without_addresses_the_providers_themselves_speak() -> None:
    assert [(p.provider, p.simulated) for p in providers_of({})] == [
        (Provider.OPENAI_REALTIME, False),
        (Provider.GEMINI_LIVE, False),
    ]


@pytest.mark.parametrize(
    ("base_url", "simulated", "endpoint"),
    [
        ("http://127.0.0.1:9000/v1", True, "http://127.0.0.1:9000"),
        ("https://eu.api.openai.com/v1", False, "https://eu.api.openai.com"),
        ("https://openai.com.example.org/v1", True, "https://openai.com.example.org"),
        ("https://notopenai.com/v1", True, "https://notopenai.com"),
        ("https://user:secret@gateway.example.org", True, "https://gateway.example.org"),
    ],
)
def test_whatever_stands_in_a_providers_place_is_called_a_simulator(
    base_url: str, simulated: bool, endpoint: str
) -> None:
    openai, gemini = providers_of({"FLEET_OPENAI_BASE_URL": base_url})
    assert (openai.simulated, openai.endpoint) == (simulated, endpoint)
    assert not gemini.simulated
