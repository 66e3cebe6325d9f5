from __future__ import annotations

import re

import pytest

from tests.manifests import dockerfile
from tests.manifests.tool import TREE

FILE = TREE / "Dockerfile"


def told(text: str) -> str:
    return "\n".join(map(str, dockerfile.check(text, TREE)))


def test_dockerfile_is_sound() -> None:
    assert told(FILE.read_text()) == ""


def test_image_has_all_code_and_the_paths_of_its_programs() -> None:
    pages, build, final = dockerfile.stages_of(FILE.read_text())
    copied = " ".join(build.all("COPY")).split()
    assert {"agent_actor", "autoscaler", "fleet", "serve"} <= {*copied}
    assert any(f"--from={pages.name}" in each for each in build.all("COPY")), "it has no pages"
    (path,) = re.findall(r"PATH=(\S+?)/bin:", " ".join(final.all("ENV")))
    assert any(each.split()[-1] == path for each in final.all("COPY")), "nothing is copied there"


@pytest.mark.parametrize(
    ("was", "becomes", "why"),
    [
        ("USER 10001:10001", "USER root", "runs as root"),
        ("USER 10001:10001", "USER fleet", "runs as fleet: it must be a number"),
        ("USER 10001:10001\n", "", "runs as root"),
        ("=python:3.11.11-slim-bookworm\n", "=python\n", "base 'python' is not pinned"),
        (
            "=python:3.11.11-slim-bookworm\n",
            "=python:3.9-slim\n",
            "no Python that the code runs on",
        ),
        ("COPY --from=build", "COPY --from=builder", "no stage 'builder' to copy from"),
        ("COPY serve serve", "COPY server serve", "no server to copy"),
        ("WORKDIR /opt/fleet", "WORKDIRECTORY /opt/fleet", "unknown instruction WORKDIRECTORY"),
    ],
)
def test_broken_dockerfile_is_refused_and_told_why(was: str, becomes: str, why: str) -> None:
    text = FILE.read_text()
    assert was in text
    found = told(text.replace(was, becomes, 1))
    assert re.search(why, found), found or "passed"
