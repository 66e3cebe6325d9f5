from __future__ import annotations

import pytest

from fleet.errors import SettingsInvalid
from fleet.settings import FleetSettings
from serve.ingress import on_a_cluster

KEY = "some-key-0123456789"


def settings(**changes: object) -> FleetSettings:
    return FleetSettings(livekit_api_key="local", livekit_api_secret="secret", **changes)  # type: ignore[arg-type]


def test_deployed_by_serves_own_configuration_it_needs_a_key() -> None:
    """Serve may listen on every interface there, though FLEET_API_HOST says loopback."""
    with pytest.raises(SettingsInvalid, match="FLEET_API_KEY"):
        on_a_cluster(settings(api_host="127.0.0.1"))
    keyed = settings(api_key=KEY)
    assert on_a_cluster(keyed) is keyed
