"""serveConfigV2: by Ray's own schema, and against the application that it names."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from ray import serve as ray_serve
from ray.serve.schema import ServeDeploySchema

import serve.ingress
from tests.manifests.commands import ray_resources
from tests.manifests.environment import environment_of, is_control
from tests.manifests.overlay import Finding, Overlay

AT = "RayService, serveConfigV2"


def check(overlay: Overlay) -> Iterator[Finding]:
    text = overlay.ray_service["spec"].get("serveConfigV2", "")
    try:
        given = yaml.safe_load(text)
        config = ServeDeploySchema.model_validate(given)
    except yaml.YAMLError as error:
        yield Finding(AT, f"no YAML: {error}")
        return
    except ValidationError as error:
        for each in error.errors(include_url=False):
            yield Finding(AT, f"{'.'.join(map(str, each['loc']))}: {each['msg']}")
        return
    # Ray takes whatever it does not know and leaves it aside.
    for path in _unknown(given, config):
        yield Finding(AT, f"Ray has no {path}")
    for application in given["applications"]:
        yield from _application(application)
        yield from _resources(overlay, application)
    yield from _port(overlay, config)


def _application(application: Mapping[str, Any]) -> Iterator[Finding]:
    path = application["import_path"]
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        builder = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        yield Finding(AT, f"import_path {path}: {error}")
        return
    built = builder(application.get("args", {})) if callable(builder) else builder
    if not isinstance(built, ray_serve.Application):
        yield Finding(AT, f"import_path {path} is no Serve application")
    elif built._bound_deployment.name != serve.ingress.INGRESS.name:
        yield Finding(AT, f"import_path {path} is not the ingress")
    else:
        yield from _deployments(application, built)


def _deployments(application: Mapping[str, Any], built: ray_serve.Application) -> Iterator[Finding]:
    if application.get("name") != serve.ingress.APP_NAME:
        yield Finding(AT, f"the application's name is {serve.ingress.APP_NAME}")
    for deployment in application.get("deployments", []):
        if deployment["name"] != built._bound_deployment.name:
            yield Finding(AT, f"the application has no deployment {deployment['name']!r}")


def _resources(overlay: Overlay, application: Mapping[str, Any]) -> Iterator[Finding]:
    nodes = [pod.ray_container for pod in overlay.pods if pod.group]
    offered = {name for node in nodes for name in ray_resources(node)}
    for deployment in application.get("deployments", []):
        asked = deployment.get("ray_actor_options", {}).get("resources", {})
        for name in asked.keys() - offered:
            why = f"no group has the resource {name}, which {deployment['name']} asks for"
            yield Finding(AT, why)


def _port(overlay: Overlay, config: ServeDeploySchema) -> Iterator[Finding]:
    """Serve's, the settings' and the pods' port are one."""
    wanted = config.http_options.port
    if config.http_options.host not in ("0.0.0.0", "::"):
        yield Finding(AT, f"nobody outside its pod reaches {config.http_options.host}")
    for template in overlay.templates:
        for container in template.containers:
            for port in container.spec.get("ports", []):
                if port.get("name") == "serve" and port["containerPort"] != wanted:
                    yield Finding(container.where, f"its port serve is not Serve's {wanted}")
            given = environment_of(overlay, container)
            if is_control(given) and given.get("FLEET_API_PORT", "8000") != str(wanted):
                yield Finding(container.where, f"FLEET_API_PORT is not Serve's {wanted}")


def _unknown(given: Any, known: Any, path: str = "") -> Iterator[str]:
    """Where ``given`` has a key that no model has a field for; free-form mappings pass."""
    if isinstance(known, list):
        for index, (one, other) in enumerate(zip(given, known, strict=True)):
            yield from _unknown(one, other, f"{path}.{index}")
    elif isinstance(known, BaseModel):
        for key, value in given.items():
            if key not in type(known).model_fields:
                yield f"{path}.{key}".lstrip(".")
            else:
                yield from _unknown(value, getattr(known, key), f"{path}.{key}")
