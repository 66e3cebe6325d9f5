"""The Dockerfile, read lightly: its stages, whom it runs as, what it copies and is made from."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.manifests.overlay import Finding

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
INSTRUCTIONS = {
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
    "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip


@dataclass
class Stage:
    """``base`` with its build arguments filled in."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for word, rest in self.steps if word == instruction]


def check(text: str, folder: Path) -> Iterator[Finding]:
    """``folder`` is the build's context."""
    for word, _ in instructions(text):
        if word not in INSTRUCTIONS:
            yield Finding("Dockerfile", f"unknown instruction {word}")
    stages = stages_of(text)
    names = {stage.name for stage in stages}
    for stage in stages:
        if stage.base not in names:
            yield from _base(stage)
        yield from _copies(stage, names, folder)
    yield from _user(stages[-1])


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each with its text on one line; heredocs belong to their instruction and are left out."""
    lines = iter(text.splitlines())
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        whole = line
        while whole.endswith("\\"):
            following = next(lines, "")
            whole = whole[:-1] if following.lstrip().startswith("#") else whole[:-1] + following
            if following.lstrip().startswith("#"):
                whole += "\\"
        if heredoc := re.search(r"<<-?['\"]?(\w+)", whole):
            while next(lines, heredoc[1]).strip() != heredoc[1]:
                pass
        word, _, rest = whole.strip().partition(" ")
        yield word.upper(), rest.strip()


def stages_of(text: str) -> list[Stage]:
    found: list[Stage] = []
    arguments: dict[str, str] = {}
    for word, rest in instructions(text):
        if word == "ARG" and not found:
            name, _, value = rest.partition("=")
            arguments[name] = value
        elif word == "FROM":
            words = [each for each in rest.split() if not each.startswith("--")]
            base = re.sub(r"\$\{?(\w+)\}?", lambda used: arguments.get(used[1], ""), words[0])
            name = words[2] if len(words) == 3 else str(len(found))
            found.append(Stage(name, base))
        elif found:
            found[-1].steps.append((word, rest))
    return found


def _base(stage: Stage) -> Iterator[Finding]:
    name, _, digest = stage.base.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if not digest and (not tag or tag == "latest"):
        yield Finding("Dockerfile", f"base {stage.base!r} is not pinned")
    version = re.match(r"(\d+)\.(\d+)", tag)
    if "python" in name and (
        version is None or not OLDEST_PYTHON <= (int(version[1]), int(version[2])) <= NEWEST_PYTHON
    ):
        yield Finding("Dockerfile", f"base {stage.base!r} is no Python that the code runs on")


def _copies(stage: Stage, names: set[str], folder: Path) -> Iterator[Finding]:
    for rest in [*stage.all("COPY"), *stage.all("ADD")]:
        words = shlex.split(rest)
        flags = dict(each[2:].partition("=")[::2] for each in words if each.startswith("--"))
        *sources, _ = [each for each in words if not each.startswith("--")]
        if "from" in flags:
            outside = "/" in flags["from"] or ":" in flags["from"]
            if not outside and flags["from"] not in names:
                yield Finding("Dockerfile", f"there is no stage {flags['from']!r} to copy from")
            continue
        for source in sources:
            if "://" not in source and not list(folder.glob(source.strip("/") or ".")):
                yield Finding("Dockerfile", f"there is no {source} to copy")


def _user(last: Stage) -> Iterator[Finding]:
    user = (last.all("USER") or ["root"])[-1].partition(":")[0]
    # Kubernetes' runAsNonRoot cannot tell of a name who that is.
    if not user.isdecimal() or user == "0":
        yield Finding("Dockerfile", f"runs as {user}: it must be a number above 0")
