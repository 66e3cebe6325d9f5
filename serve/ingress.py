"""The ingress as a Ray Serve deployment, and how to start and stop it.

On a cluster Serve imports it by path, ``serve.ingress:build``: settings come from the replica's
environment, and the first replica starts the control plane. ``start_ingress`` gives it the settings
of whoever starts it, who has started that before.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI
from ray import serve as ray_serve
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.deployment import Deployment
from ray.serve.schema import LoggingConfig

from fleet.errors import SettingsInvalid
from fleet.logs import configure_logs
from fleet.settings import FleetSettings, load_settings
from serve.app import create_app
from serve.auth import KeyRing, may_listen
from serve.ports import ProviderInfo
from serve.wiring import on_a_cluster, open_ports, providers_of, start_fleet

APP_NAME = "interview-fleet"
MAX_ONGOING_REQUESTS = 2_000
"""Event streams and starting sessions each hold one while they wait."""
DRAIN_S = 10.0
"""What requests under way are given at a stop; streams last until it is over."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class IngressAddress:
    host: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@ray_serve.ingress()
class Ingress:
    """One replica. The app is made here and not at import, in the loop that will serve it."""

    def __init__(
        self,
        settings: FleetSettings | None = None,
        providers: tuple[ProviderInfo, ...] | None = None,
    ) -> None:
        configure_logs("ingress")
        self._deployed_by_serve = settings is None
        self._settings = settings or on_a_cluster(load_settings())
        self._providers = providers or providers_of(os.environ)

    async def __serve_build_asgi_app__(self) -> FastAPI:
        if self._deployed_by_serve:
            await start_fleet(self._settings)
        ports = await open_ports(self._settings, self._providers)
        return create_app(ports, keys=self._settings.api_keys)


_deployed = ray_serve.deployment(
    name="ingress",
    num_replicas=1,
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    graceful_shutdown_timeout_s=DRAIN_S,
    graceful_shutdown_wait_loop_s=0.2,
    # Not 0: a node with nothing but zero-CPU actors counts as idle.
    ray_actor_options={"num_cpus": 0.1},
    logging_config=LoggingConfig(enable_access_log=False),
)
INGRESS: Deployment = _deployed(Ingress)


def build(_: dict[str, Any]) -> ray_serve.Application:
    """For Serve's own configuration (import_path). Settings come from the environment."""
    return INGRESS.bind()


def deployed_for(settings: FleetSettings) -> Deployment:
    """So many replicas as the settings say, on the nodes of the control actors."""
    options = {**(INGRESS.ray_actor_options or {}), "resources": settings.control_resources}
    return INGRESS.options(num_replicas=settings.ingress_replicas, ray_actor_options=options)


def start_ingress(
    settings: FleetSettings,
    host: str | None = None,
    port: int | None = None,
    *,
    providers: tuple[ProviderInfo, ...] | None = None,
) -> IngressAddress:
    """Blocks until it answers. Ray must be connected, with no other Serve in the cluster.

    ``host`` and ``port`` default to the settings'; port 0 takes a free one. ``providers`` says
    who speaks, by default as this process's environment has it. Raises SettingsInvalid for an
    address that may not be listened on without a key.
    """
    host = host or settings.api_host
    if not may_listen(host, KeyRing(settings.api_keys)):
        raise SettingsInvalid({"FLEET_API_KEY": f"required to listen on {host}"})
    wanted = settings.api_port if port is None else port
    address = IngressAddress(host=host, port=wanted or _free_port(host))
    ray_serve.start(
        proxy_location=ProxyLocation.HeadOnly,
        http_options=HTTPOptions(host=address.host, port=address.port),
        logging_config=LoggingConfig(enable_access_log=False),
    )
    app = deployed_for(settings).bind(settings, providers or providers_of(os.environ))
    ray_serve.run(app, name=APP_NAME, route_prefix="/")
    _check_listening(address)
    _log.info("ingress_started", host=address.host, port=address.port)
    return address


def stop_ingress() -> None:
    """Requests under way may end within DRAIN_S; then Serve itself goes. May be called twice."""
    ray_serve.shutdown()  # type: ignore[no-untyped-call]
    _log.info("ingress_stopped")


def _check_listening(address: IngressAddress) -> None:
    """Serve that runs already keeps its own address and only logs a warning about ours."""
    try:
        socket.create_connection((_reachable(address.host), address.port), timeout=5).close()
    except OSError as error:
        where = f"{address.host}:{address.port}"
        raise SettingsInvalid(
            {"FLEET_API_PORT": f"nothing listens on {where} ({error}): does Serve run elsewhere?"}
        ) from None


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
