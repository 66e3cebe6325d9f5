"""compose.yaml against the code: commands, variables, images, and what services say of others."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.manifests import commands, environment
from tests.manifests.overlay import FLEET_IMAGE, Finding, image_name
from tests.manifests.sizing import image_problem

SERVICE_KEYS = {
    "build", "cap_add", "cap_drop", "command", "configs", "depends_on", "deploy", "entrypoint",
    "env_file", "environment", "expose", "healthcheck", "hostname", "image", "init", "logging",
    "network_mode", "networks", "ports", "profiles", "read_only", "restart", "secrets",
    "security_opt", "shm_size", "stop_grace_period", "stop_signal", "tmpfs", "ulimits", "user",
    "volumes", "working_dir",
}  # fmt: skip
TOP_KEYS = {"configs", "name", "networks", "secrets", "services", "volumes"}
_VARIABLE = re.compile(r"\$\{(\w+)(?::?([-?])([^}]*))?\}")


def check(text: str, folder: Path) -> Iterator[Finding]:
    """``folder`` is where its relative paths begin."""
    config = load_strictly(text)
    yield from _unknown("compose.yaml", config, TOP_KEYS)
    services = config["services"]
    for name, service in services.items():
        at = f"service {name}"
        yield from _unknown(at, service, SERVICE_KEYS)
        yield from _image(at, service)
        yield from _variables(at, service)
        yield from _commands(at, service)
        for other in service.get("depends_on", []):
            if other not in services:
                yield Finding(at, f"depends on {other}, which is no service")
        for kind in ("volumes", "secrets", "configs", "networks"):
            yield from _named(at, kind, service.get(kind, []), config.get(kind) or {}, folder)


def load_strictly(text: str) -> Any:
    """YAML, without keys that are given twice. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_UniqueKeys)


class _UniqueKeys(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.value != "<<"]
        for key in {each for each in keys if keys.count(each) > 1}:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def variables_of(service: Mapping[str, Any]) -> dict[str, str]:
    """What whoever runs it gives is its default here, else a stand-in."""
    given = service.get("environment", {})
    if isinstance(given, list):
        given = dict(each.partition("=")[::2] for each in given)
    return {name: _filled(name, value) for name, value in given.items()}


def _filled(name: str, value: object) -> str:
    stand_in = environment.stand_in(name)
    if value is None:  # from whoever runs it, if there
        return stand_in
    return _VARIABLE.sub(lambda found: found[3] if found[2] == "-" else stand_in, str(value))


def _unknown(at: str, given: Mapping[str, Any], known: set[str]) -> Iterator[Finding]:
    for key in given:
        if key not in known and not key.startswith("x-"):
            yield Finding(at, f"unknown key {key!r}")


def _image(at: str, service: Mapping[str, Any]) -> Iterator[Finding]:
    if "build" not in service and (problem := image_problem(service.get("image", ""))):
        yield Finding(at, problem)


def _variables(at: str, service: Mapping[str, Any]) -> Iterator[Finding]:
    given = variables_of(service)
    image = service.get("image", FLEET_IMAGE)
    mentioned = json.dumps([service.get(key) for key in ("command", "entrypoint", "healthcheck")])
    for name in environment.unread(given, image, mentioned):
        yield Finding(at, f"nobody reads {name}")
    if image_name(image) == FLEET_IMAGE:
        for problem in environment.problems(given):
            yield Finding(at, problem)


def _commands(at: str, service: Mapping[str, Any]) -> Iterator[Finding]:
    health = service.get("healthcheck", {}).get("test", [])
    if isinstance(health, list):
        health = health[1:] if health[:1] == ["CMD"] else ["sh", "-c", *health[1:]]
    for words in (service.get("entrypoint"), service.get("command"), health):
        words = shlex.split(words) if isinstance(words, str) else words
        # In a compose file $$ is the $ of the shell.
        for problem in commands.problems([each.replace("$$", "$") for each in words or ["true"]]):
            yield Finding(at, problem)


def _named(
    at: str, kind: str, used: Any, declared: Mapping[str, Any], folder: Path
) -> Iterator[Finding]:
    for each in used:
        source = str(each["source"] if isinstance(each, dict) else each).partition(":")[0]
        if source.startswith((".", "/")):
            if kind == "volumes" and source.startswith(".") and not (folder / source).exists():
                yield Finding(at, f"there is no {source} to mount")
        elif source not in declared:
            yield Finding(at, f"{source!r} is not declared under {kind}")
