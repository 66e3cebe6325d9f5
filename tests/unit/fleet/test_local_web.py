from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fleet.local import chromium, web
from fleet.local.errors import ToolUnavailable

NODE = """#!/bin/sh
case "$1" in
--version) echo {version} ;;
build.mjs) mkdir -p "$2" && cp src/page.ts "$2/page.html" && echo built >> {log} ;;
*) {types} ;;
esac
"""
NPM = '#!/bin/sh\nmkdir -p node_modules/typescript/bin && echo "$@" >> {log}\n'


class Machine:
    """Nothing on PATH but what a shell needs, nothing cached; a tree with a page in it."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "programs"
        self.programs.mkdir()
        for name in ("cp", "mkdir", "sh"):
            (self.programs / name).symlink_to(shutil.which(name) or name)
        self.log = folder / "log"
        self.tree = folder / "web"
        (self.tree / "src").mkdir(parents=True)
        for name in ("package.json", "package-lock.json", ".npmrc", "build.mjs"):
            (self.tree / name).write_text("{}")
        self.page("one")

    def page(self, text: str) -> None:
        (self.tree / "src" / "page.ts").write_text(text)

    def install(self, *, version: str = "v22.1.0", types: str = ":") -> None:
        self.program("node", NODE.format(version=version, log=self.log, types=types))
        self.program("npm", NPM.format(log=self.log))

    def built(self) -> str:
        return (self.tree / "dist" / "page.html").read_text()

    def done(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def program(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(script)
        path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(machine.programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(chromium.VARIABLE, raising=False)
    monkeypatch.setattr(web, "WEB", machine.tree)
    monkeypatch.setattr(web, "DIST", machine.tree / "dist")
    return machine


def test_pages_are_built_once_for_the_same_sources(machine: Machine) -> None:
    machine.install()
    for _ in range(2):
        web.ensure_pages()
    assert machine.built() == "one"
    assert machine.done() == ["ci --no-progress", "built"]


def test_a_changed_source_is_built_without_installing_again(machine: Machine) -> None:
    machine.install()
    web.ensure_pages()
    machine.page("two")
    web.ensure_pages()
    assert machine.built() == "two"
    assert machine.done() == ["ci --no-progress", "built", "built"]


def test_sources_that_were_built_before_come_from_the_cache(machine: Machine) -> None:
    machine.install()
    for text in ("one", "two", "one"):
        machine.page(text)
        web.ensure_pages()
    assert machine.built() == "one"
    assert machine.done().count("built") == 2


def test_a_changed_lock_installs_again(machine: Machine) -> None:
    machine.install()
    web.ensure_pages()
    (machine.tree / "package-lock.json").write_text("{ }")
    web.ensure_pages()
    assert machine.done().count("ci --no-progress") == 2


def test_a_page_that_does_not_compile_says_why_and_leaves_the_old_one(machine: Machine) -> None:
    machine.install()
    web.ensure_pages()
    machine.page("wrong")
    machine.install(types="echo 'page.ts(3,7): error'; exit 2")
    with pytest.raises(ToolUnavailable, match=r"page\.ts\(3,7\): error"):
        web.ensure_pages()
    assert machine.built() == "one"


def test_an_installed_package_builds_nothing(machine: Machine) -> None:
    (machine.tree / "package.json").unlink()
    web.ensure_pages()
    assert not (machine.tree / "dist").exists()


@pytest.mark.parametrize(
    ("version", "usable"), [("v20.0.0", True), ("v24.1.2", True), ("v18.20.0", False), ("", False)]
)
def test_node_is_used_when_it_is_new_enough(machine: Machine, version: str, usable: bool) -> None:
    machine.install(version=version)
    node = web._node_on_path()
    assert (node.program if node else None) == (machine.programs / "node" if usable else None)


def test_the_lock_holds_no_address_to_fetch_from() -> None:
    lock = Path(__file__).parents[3] / "serve" / "web" / "package-lock.json"
    assert '"resolved"' not in lock.read_text()


def test_a_named_chromium_comes_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.program("chromium", "#!/bin/sh\n")
    assert chromium.find_chromium() == machine.programs / "chromium"
    machine.program("mine", "#!/bin/sh\n")
    monkeypatch.setenv(chromium.VARIABLE, str(machine.programs / "mine"))
    assert chromium.find_chromium() == machine.programs / "mine"


def test_a_named_chromium_that_is_none_is_an_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(chromium.VARIABLE, str(machine.tree))
    for find in (chromium.find_chromium, chromium.ensure_chromium):
        with pytest.raises(ToolUnavailable, match="CHROMIUM names"):
            find()


def test_without_a_chromium_and_a_package_manager_it_says_what_to_do(machine: Machine) -> None:
    with pytest.raises(ToolUnavailable, match="no Chromium on PATH"):
        chromium.ensure_chromium()
