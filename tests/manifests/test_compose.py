from __future__ import annotations

import re

import pytest
import yaml

from tests.manifests import compose
from tests.manifests.tool import TREE

FILE = TREE / "compose.yaml"


def told(text: str) -> str:
    return "\n".join(map(str, compose.check(text, TREE)))


def test_compose_file_fits_the_code() -> None:
    assert told(FILE.read_text()) == ""


@pytest.mark.parametrize(
    ("was", "becomes", "why"),
    [
        ("[fleet, up,", "[fleet, start,", "service fleet: fleet has no command 'start'"),
        ("--warm", "--warmth", "service fleet: fleet up: No such option: --warmth"),
        ("providers, real", "providers, fake", "service fleet: fleet up: .*'fake' is not one of"),
        ("LIVEKIT_URL:", "LIVEKIT_ADDRESS:", "service fleet: nobody reads LIVEKIT_ADDRESS"),
        ("LIVEKIT_URL: ws:", "LIVEKIT_URL: ftp:", "service fleet: LIVEKIT_URL: "),
        ("    init: true", "    initial: true", "service fleet: unknown key 'initial'"),
        ("livekit-server:v1.13.5", "livekit-server:v1.0.0", "service livekit: image"),
        ("redis:7.4.2", "redis", "service redis: image 'redis' is not pinned"),
        ("redis:/data", "store:/data", "service redis: 'store' is not declared under volumes"),
        ("livekit: {condition", "sfu: {condition", "service fleet: depends on sfu"),
    ],
)
def test_broken_compose_file_is_refused_and_told_why(was: str, becomes: str, why: str) -> None:
    text = FILE.read_text()
    assert was in text
    found = told(text.replace(was, becomes, 1))
    assert re.search(why, found), found or "passed"


def test_key_given_twice_is_refused() -> None:
    text = FILE.read_text().replace("    init: true\n", "    init: true\n    init: false\n")
    with pytest.raises(yaml.YAMLError, match="'init' is given twice"):
        told(text)
