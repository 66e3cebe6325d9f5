"""Environment variables: that each is read by somebody, and that the settings take their values."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

from pydantic import ValidationError

from agent_actor.settings import AgentSettings
from fleet.errors import SettingsInvalid
from fleet.settings import FleetSettings, load_settings, variable_of
from tests.manifests.overlay import Container, Finding, Overlay, image_name
from tests.manifests.secrets import documented_secrets
from tests.manifests.tool import TREE

CODE = ("agent_actor", "autoscaler", "fleet", "serve")

# Read by what lies under us: the C library, Python, OpenSSL, OpenBLAS.
OF_THE_SYSTEM = {
    "HOME", "MALLOC_ARENA_MAX", "OPENBLAS_NUM_THREADS", "PATH", "PYTHONDONTWRITEBYTECODE",
    "PYTHONHASHSEED", "PYTHONPATH", "PYTHONUNBUFFERED", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR",
    "TZ",
}  # fmt: skip
OF_OTHER_IMAGES = {
    # The options of its command, which `livekit-server --help` lists.
    "livekit-server": {"LIVEKIT_CONFIG", "LIVEKIT_KEYS", "LIVEKIT_REGION", "NODE_IP"},
    "redis": {"REDISCLI_AUTH"},
}

# What a Secret holds nobody knows here; settings are given these, of the right form.
STAND_INS = {
    "REDIS_URL": "rediss://:secret@redis.example:6379/0",
    "LIVEKIT_URL": "wss://livekit.example",
    "FLEET_BUDGET_WEBHOOK_SECRET": "whsec_" + "c2VjcmV0" * 5,
}
STAND_IN = "a-secret-of-at-least-sixteen-characters"


def check(overlay: Overlay) -> Iterator[Finding]:
    for template in overlay.templates:
        for container in template.containers:
            given = environment_of(overlay, container)
            for name in unread(given, container.spec.get("image", ""), json.dumps(container.spec)):
                yield Finding(container.where, f"nobody reads {name}")
            if container.is_fleet:
                for problem in problems(given):
                    yield Finding(container.where, problem)


def environment_of(overlay: Overlay, container: Container) -> dict[str, str]:
    """As the container will have it, with stand-ins for what only the cluster knows."""
    found: dict[str, str] = {}
    for source in container.spec.get("envFrom", []):
        if "configMapRef" in source:
            held = overlay.named("ConfigMap", source["configMapRef"]["name"]) or {}
            data = held.get("data", {})
        else:
            data = dict.fromkeys(documented_secrets().get(source["secretRef"]["name"], ()))
        found |= {
            source.get("prefix", "") + key: stand_in(key) if value is None else value
            for key, value in data.items()
        }
    for name, variable in container.env.items():
        found[name] = str(variable["value"]) if "value" in variable else stand_in(name)
    return found


def stand_in(name: str) -> str:
    return STAND_INS.get(name, STAND_IN)


def unread(given: Mapping[str, str], image: str, mentioned: str) -> Iterator[str]:
    """The names that no program of the image reads, nor ``mentioned`` puts in somewhere:
    ``$(NAME)`` of Kubernetes, ``$NAME`` of a shell."""
    for name in given:
        put_in = re.search(rf"\$[({{]?{name}\b", mentioned)
        if not put_in and not _known(name, image_name(image)):
            yield name


def problems(given: Mapping[str, str]) -> Iterator[str]:
    """What the settings of a process with this environment would be refused for."""
    try:
        if is_control(given):
            settings_of(given)
        else:
            with patch.dict(os.environ, given, clear=True):
                AgentSettings()
    except SettingsInvalid as error:
        yield from (f"{name}: {why}" for name, why in error.problems.items())
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            yield f"{'.'.join(map(str, each['loc']))}: {each['msg']}"


def settings_of(given: Mapping[str, str]) -> FleetSettings:
    """Raises SettingsInvalid."""
    with patch.dict(os.environ, given, clear=True):
        return load_settings()


def is_control(given: Mapping[str, str]) -> bool:
    """Whether the control plane runs there: it alone may make tokens for LiveKit."""
    return "LIVEKIT_API_SECRET" in given and "LIVEKIT_KEYS" not in given


def _known(name: str, image: str) -> bool:
    if image in OF_OTHER_IMAGES:
        return name in OF_OTHER_IMAGES[image]
    ours = name in _named_in_code() or name in _settings()
    return ours or name in OF_THE_SYSTEM or _known_to_ray(name) or name in _of_opentelemetry()


@cache
def _settings() -> frozenset[str]:
    names = {variable_of(field) for field in FleetSettings.model_fields}
    for field, info in AgentSettings.model_fields.items():
        alias = info.validation_alias
        names.add(alias if isinstance(alias, str) else f"FLEET_{field.upper()}")
    return frozenset(names)


@cache
def _named_in_code() -> frozenset[str]:
    """Whatever stands in our code as a string and could be a variable."""
    literal = re.compile(r"""["']([A-Z][A-Z0-9_]{2,})["']""")
    files = (path for folder in CODE for path in (TREE / folder).rglob("*.py"))
    return frozenset(name for path in files for name in literal.findall(path.read_text()))


@cache
def _known_to_ray(name: str) -> bool:
    """Ray reads some in Python, and ``RAY_<option>`` for each of its options in its programs."""
    if not name.startswith("RAY_"):
        return False
    return name in _named_in_ray() or f"{name}\0".encode() in _raylet()


@cache
def _named_in_ray() -> frozenset[str]:
    literal = re.compile(rb"\bRAY_\w+")
    folders = ("_common", "_private", "autoscaler", "dashboard", "scripts", "serve", "util")
    files = (path for folder in folders for path in (_ray() / folder).rglob("*.py"))
    found = {name for path in files for name in literal.findall(path.read_bytes())}
    return frozenset(name.decode() for name in found)


@cache
def _raylet() -> bytes:
    return (_ray() / "core" / "src" / "ray" / "raylet" / "raylet").read_bytes()


@cache
def _ray() -> Path:
    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@cache
def _of_opentelemetry() -> frozenset[str]:
    from opentelemetry.sdk import environment_variables

    return frozenset(name for name in vars(environment_variables) if name.startswith("OTEL_"))
