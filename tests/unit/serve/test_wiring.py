from __future__ import annotations

import pytest

from agent_actor.contract import Provider
from fleet.dispatch_plan import ROOM_PREFIX
from fleet.errors import SettingsInvalid
from fleet.settings import load_settings
from serve.wiring import on_a_cluster, providers_of, session_of_room


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


def test_deployed_by_serves_own_configuration_it_needs_a_key() -> None:
    """Serve may listen on every interface there, though FLEET_API_HOST says loopback."""
    values = {"livekit_api_key": "local", "livekit_api_secret": "secret"}
    with pytest.raises(SettingsInvalid, match="FLEET_API_KEY"):
        on_a_cluster(load_settings(**values, api_host="127.0.0.1"))
    keyed = load_settings(**values, api_key="some-key-0123456789")
    assert on_a_cluster(keyed) is keyed
