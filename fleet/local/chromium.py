"""A Chromium for the browser tests. ``python -m fleet.local.chromium`` installs one if need be."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from fleet.local.cache import exclusive
from fleet.local.errors import ToolUnavailable
from fleet.local.making import exit_code, run_step

VARIABLE = "CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
PACKAGES = ("chromium", "fonts-noto-cjk")
"""With the fonts that the Japanese and Korean pages are drawn with."""


def find_chromium() -> Path:
    """The one that CHROMIUM names, else one on PATH. Raises ToolUnavailable."""
    named = os.environ.get(VARIABLE)
    if named:
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise ToolUnavailable(f"{VARIABLE} names {named}, which is no program")
        return Path(named)
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise ToolUnavailable(f"no Chromium on PATH: install one, or name it in {VARIABLE}")
    return Path(found)


def ensure_chromium() -> Path:
    """The same; where none is found, the system's package manager is asked for one, if it is
    Debian's and we may. Raises ToolUnavailable."""
    try:
        return find_chromium()
    except ToolUnavailable:
        apt = shutil.which("apt-get")
        if os.environ.get(VARIABLE) or apt is None or os.geteuid() != 0:
            raise
    with exclusive("chromium"), tempfile.TemporaryDirectory() as folder:
        scratch, quiet = Path(folder), {"DEBIAN_FRONTEND": "noninteractive"}
        install = [apt, "install", "--yes", "--no-install-recommends", *PACKAGES]
        for command in ([apt, "update"], install):
            run_step(
                f"apt-get {command[1]}, for Chromium (once)",
                command,
                log=scratch / "log",
                cwd=scratch,
                env=quiet,
            )
    return find_chromium()


if __name__ == "__main__":
    sys.exit(exit_code(ensure_chromium))
