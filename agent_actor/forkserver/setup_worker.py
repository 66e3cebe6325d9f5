"""In place of Ray's own ``setup_worker.py``, which imports all of Ray (1.4 s) to start a worker.

A worker that is to be forked is asked for right here; every other one is left to Ray's own.
"""

from __future__ import annotations

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAUNCHER = os.path.join(ROOT, "agent_actor", "forkserver", "launcher.py")
_CONTEXT = "--serialized-runtime-env-context="
_ONLY_HERE = (_CONTEXT, "--language=")
_UNDERSTOOD = {"py_executable", "env_vars"}


def forkable(arguments: list[str]) -> tuple[list[str], dict[str, str]] | None:
    """The launcher's arguments and the variables to set, or None for a worker that is not ours."""
    contexts = [each[len(_CONTEXT) :] for each in arguments if each.startswith(_CONTEXT)]
    if not contexts or "forkserver" not in contexts[0]:
        return None
    import json
    import shlex

    context = json.loads(contexts[0])
    words = shlex.split(context.get("py_executable") or "")
    others = [name for name, value in context.items() if value and name not in _UNDERSTOOD]
    if others or words[:4] != [sys.executable, "-I", "-S", LAUNCHER]:
        return None
    passed_on = [each for each in arguments if not each.startswith(_ONLY_HERE)]
    return [*words[4:], *passed_on], context.get("env_vars") or {}


def expand(value: str) -> str:
    """As Ray does it: ${NAME} is replaced, by nothing if there is no such variable."""
    import re

    return re.sub(r"\$\{[A-Z0-9_]+\}", "", os.path.expandvars(value))


def leave_to_ray(arguments: list[str]) -> None:
    """Become Ray's own, which lies next to the worker's script or, for its client server, with
    the installed Ray."""
    import importlib.util

    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    script = os.path.join(os.path.dirname(spec.origin), "_private", "workers", "setup_worker.py")
    os.execv(sys.executable, [sys.executable, script, *arguments])


def main(arguments: list[str]) -> None:
    ours = forkable(arguments)
    if ours is None:
        leave_to_ray(arguments)
        return
    for name, value in ours[1].items():
        os.environ[name] = expand(value)
    sys.path.append(ROOT)
    from agent_actor.forkserver import launch

    launch.main(ours[0])


if __name__ == "__main__":
    # Our neighbours here are no top-level modules.
    sys.path.pop(0)
    main(sys.argv[1:])
