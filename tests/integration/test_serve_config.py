"""The fleet as Serve's own configuration deploys it, on KubeRay for one: there is no driver, the
first replica of the ingress starts the control plane.
"""

from __future__ import annotations

import asyncio
import warnings

import httpx
from pydantic import SecretStr

from fleet.control import stop_control_plane
from fleet.local.livekit import LiveKitAccess
from fleet.local.processes import free_ports
from fleet.local.ray_cluster import RayCluster
from tests.integration.test_control_plane import settings_for

with warnings.catch_warnings():
    # Ray Serve's own models warn when they are made, under this pydantic.
    warnings.simplefilter("ignore", DeprecationWarning)
    from ray import serve as ray_serve
    from ray.serve.config import HTTPOptions, ProxyLocation

    from serve.ingress import APP_NAME, INGRESS, stop_ingress

KEY = "key-for-these-tests-0001"


def test_it_is_ready_for_sessions_as_soon_as_it_is_deployed(
    ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess
) -> None:
    settings = settings_for(shared_redis, livekit_server, api_key=SecretStr(KEY))
    environment = {
        "FLEET_ACTOR_WARM_TIMEOUT_S": "110",
        "FLEET_API_KEY": KEY,
        "FLEET_RAY_NAMESPACE": settings.ray_namespace,
        "FLEET_REDIS_NAMESPACE": settings.redis_namespace,
        "FLEET_WARM_ACTORS": "1",
        "LIVEKIT_API_KEY": livekit_server.api_key,
        "LIVEKIT_API_SECRET": livekit_server.api_secret,
        "LIVEKIT_URL": livekit_server.url,
        "REDIS_URL": settings.redis_url,
    }
    replica = {"num_cpus": 0.1, "runtime_env": {"env_vars": environment}}
    (port,) = free_ports(1)
    try:
        ray_serve.start(
            proxy_location=ProxyLocation.HeadOnly,
            http_options=HTTPOptions(host="127.0.0.1", port=port),
        )
        app = INGRESS.options(ray_actor_options=replica).bind()
        ray_serve.run(app, name=APP_NAME, route_prefix="/")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as backend:
            assert backend.get("/readyz").json()["ready"] is True
            keyed = {"Authorization": f"Bearer {KEY}"}
            assert backend.get("/v1/fleet", headers=keyed).json()["actors"]["warm"] == 1
            assert backend.get("/v1/fleet").status_code == 401
    finally:
        stop_ingress()
        asyncio.run(stop_control_plane(settings, goodbye_s=0.5))
