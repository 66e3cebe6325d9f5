from __future__ import annotations

from fleet.settings import FleetSettings
from serve.ingress import deployed_for


def settings(**changes: object) -> FleetSettings:
    values = {"livekit_api_key": "k", "livekit_api_secret": "s" * 32, **changes}
    return FleetSettings.model_validate(values)


def test_replicas_go_where_the_control_actors_do() -> None:
    deployment = deployed_for(settings(control_resource="fleet_control", ingress_replicas=2))
    assert deployment.num_replicas == 2
    assert deployment.ray_actor_options["resources"] == {"fleet_control": 0.001}
    # Else a node of theirs counts as idle, and is taken away.
    assert deployment.ray_actor_options["num_cpus"] > 0


def test_replicas_go_anywhere_unless_told() -> None:
    assert not deployed_for(settings()).ray_actor_options["resources"]
