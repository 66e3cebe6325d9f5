"""Commands in containers, hooks and probes, parsed by the programs' own command lines."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import PurePath
from typing import Any

from tests.manifests.overlay import Container, Finding, Overlay

GENERATED = "KUBERAY_GEN_RAY_START_CMD"
"""The operator's `ray start` of a container, for commands that wrap it."""

_SHELLS = {"bash", "sh"}
_BEFORE_A_COMMAND = {"!", "do", "elif", "else", "exec", "if", "then", "time", "while"}
_SEPARATORS = set(";&|\n")


def check(overlay: Overlay) -> Iterator[Finding]:
    for pod in overlay.pods:
        for container in pod.containers:
            if container.is_fleet:
                for argv in commands_of(container):
                    for problem in problems(argv):
                        yield Finding(container.where, problem)


def commands_of(container: Container) -> Iterator[Sequence[str]]:
    if container.argv:
        yield container.argv
    actions = [
        container.spec.get(f"{kind}Probe", {}) for kind in ("startup", "liveness", "readiness")
    ]
    for action in [*actions, *container.spec.get("lifecycle", {}).values()]:
        if "exec" in action:
            yield action["exec"]["command"]
    if GENERATED in container.env:
        yield ["sh", "-c", container.env[GENERATED]["value"]]


def problems(argv: Sequence[str]) -> Iterator[str]:
    """What the programs of a command would not take. Programs that are not ours or Ray's pass."""
    program, rest = PurePath(argv[0]).name, argv[1:]
    if program in _SHELLS:
        script = next((each for each in rest if not each.startswith("-")), "")
        for words in simple_commands(script):
            yield from problems(words)
    elif program in ("python", "python3"):
        if rest[:1] == ["-m"] and not _module_exists(rest[1]):
            yield f"there is no module {rest[1]!r} to run"
    elif program == "fleet":
        yield from _fleet_problems(rest)
    elif program == "ray":
        _, problem = _ray_options(rest)
        if problem:
            yield problem


def simple_commands(script: str) -> Iterator[list[str]]:
    """The words of each command in a shell script, without redirections and assignments."""
    lexer = shlex.shlex(script, posix=True, punctuation_chars=";&|<>\n")
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = " \t\r", "", True
    words: list[str] = []
    redirected = False
    for token in [*lexer, ";"]:
        if set(token) <= _SEPARATORS:
            yield from _a_command(words)
            words, redirected = [], False
        elif set(token) <= {*"<>&"}:
            redirected = True
        elif not redirected:
            words.append(token)


def _a_command(words: list[str]) -> Iterator[list[str]]:
    while words and (words[0] in _BEFORE_A_COMMAND or re.match(r"[A-Za-z_]\w*=", words[0])):
        words = words[1:]
    if words:
        yield words


def ray_start_options(container: Container) -> Mapping[str, Any]:
    """The options of a Ray container's `ray start`, by parameter; none for others."""
    generated = container.env.get(GENERATED, {}).get("value", "")
    options, _ = _ray_options(shlex.split(generated)[1:])
    return options


def ray_resources(container: Container) -> Mapping[str, float]:
    """What its node offers, by resource."""
    options = ray_start_options(container)
    custom: dict[str, float] = json.loads(options.get("resources") or "{}")
    return {**custom, "CPU": options.get("num_cpus") or 0}


def _ray_options(arguments: Sequence[str]) -> tuple[Mapping[str, Any], str | None]:
    """The parameters of `ray COMMAND …`, or what is wrong with it."""
    if not arguments:
        return {}, None
    name, *rest = arguments
    command = _ray_commands().get(name)
    if command is None:
        return {}, f"ray has no command {name!r}"
    context, problem = _parsed(f"ray {name}", command, rest)
    if context is None:
        return {}, problem
    return context.params, _resources_problem(context.params.get("resources"))


def _resources_problem(text: str | None) -> str | None:
    try:
        numbers = json.loads(text or "{}").values()
    except (ValueError, AttributeError):
        return f"ray start: resources are no JSON object: {text}"
    wrong = any(not isinstance(each, (int, float)) for each in numbers)
    return f"ray start: resources must be numbers: {text}" if wrong else None


def _fleet_problems(arguments: Sequence[str]) -> Iterator[str]:
    name, *rest = arguments or [""]
    command = _fleet_commands().get(name)
    if command is None:
        yield f"fleet has no command {name!r}"
        return
    context, problem = _parsed(f"fleet {name}", command, rest)
    if context is None:
        yield str(problem)
    elif wrapped := context.params.get("command"):
        yield from problems(wrapped)


def _parsed(name: str, command: Any, arguments: Sequence[str]) -> tuple[Any, str | None]:
    """The click context of a command line; None, and why, if click refuses it."""
    try:
        return command.make_context(name, list(arguments)), None
    except Exception as error:
        # Typer brings a click of its own, so there are two classes of the same name.
        if type(error).__name__ not in _CLICK_ERRORS:
            raise
        return None, f"{name}: {error.format_message()}"  # type: ignore[attr-defined]


_CLICK_ERRORS = {
    "BadArgumentUsage", "BadOptionUsage", "BadParameter", "MissingParameter", "NoSuchOption",
    "UsageError",
}  # fmt: skip


def _module_exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@cache
def _ray_commands() -> Mapping[str, Any]:
    from ray.scripts.scripts import cli

    return cli.commands


@cache
def _fleet_commands() -> Mapping[str, Any]:
    import typer.main

    from fleet.cli.app import app

    return typer.main.get_command(app).commands
