"""The official LiveKit release, for machines that reach it and cannot build."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import tarfile
import urllib.request
from pathlib import Path

from fleet.local.errors import ToolUnavailable
from fleet.local.progress import progress

VERSION = "1.13.5"
BASE_VARIABLE = "INTERVIEW_FLEET_LIVEKIT_RELEASES"
BASE_URL = "https://github.com/livekit/livekit/releases/download"
READ_TIMEOUT_S = 30
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def download(scratch: Path) -> Path:
    """Fetch this machine's archive into `scratch`, check it, and return the server's path.

    INTERVIEW_FLEET_LIVEKIT_RELEASES names a mirror. Raises ToolUnavailable.
    """
    base = f"{os.environ.get(BASE_VARIABLE, BASE_URL)}/v{VERSION}"
    name = archive_name()
    try:
        with progress(f"downloading LiveKit server {VERSION}"):
            sums = _get(f"{base}/checksums.txt").decode()
            archive = _get(f"{base}/{name}")
    except OSError as error:
        raise ToolUnavailable(f"no release at {base}: {error}") from error
    if expected_sha256(sums, name) != hashlib.sha256(archive).hexdigest():
        raise ToolUnavailable(f"{name} does not have the checksum of its release")
    return _unpack(archive, scratch)


def archive_name() -> str:
    machine = MACHINES.get(platform.machine().lower())
    if machine is None or sys.platform != "linux":
        raise ToolUnavailable(f"no release for {sys.platform} on {platform.machine()}")
    return f"livekit_{VERSION}_linux_{machine}.tar.gz"


def expected_sha256(sums: str, name: str) -> str:
    """The checksum of `name` in a `sha256sum` listing."""
    for line in sums.splitlines():
        digest, _, listed = line.partition(" ")
        if listed.strip().lstrip("*") == name:
            return digest
    raise ToolUnavailable(f"the release lists no checksum for {name}")


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=READ_TIMEOUT_S) as response:
        body: bytes = response.read()
    return body


def _unpack(archive: bytes, scratch: Path) -> Path:
    packed = scratch / "release.tar.gz"
    packed.write_bytes(archive)
    with tarfile.open(packed) as files:
        files.extract("livekit-server", scratch, filter="data")
    return scratch / "livekit-server"
