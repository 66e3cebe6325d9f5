"""All that is not public of Ray: how a worker process is run, how it is brought up, and what a node
that we start ourselves can do without.

Four things are relied upon, all checked before use. A worker starts plainly where these two do not
hold: that ``default_worker.py`` is a script which reads its arguments from ``sys.argv``, and that
``setup_worker.py``, run before it, can be replaced by an absolute path. The others are that a node
starts its log monitor and its client server by a method each, and builds the commands of its Python
processes by one function.
"""

from __future__ import annotations

import os
import sys
import types
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import CodeType
from typing import Any

SUPPORTED = ("2.60.",)
SETUP_WORKER = str(Path(__file__).with_name("setup_worker.py"))
IDLE_AGENT = str(Path(__file__).with_name("idle_agent.py"))

_IMPORTED_LATE = (
    "pydantic.v1",
    "ray._common.pydantic_compat",
    "ray._common.usage.usage_lib",
    "ray._private.arrow_serialization",
    "ray._private.async_compat",
    "ray._private.node",
    "ray._private.ray_logging",
    "ray._private.runtime_env.setup_hook",
    "starlette.datastructures",
)
"""By a worker while it connects, constructs its actor and reads its first call: two thirds of the
CPU that a forked one would take, pydantic's old version most of it."""

_workers: dict[str, CodeType] = {}


def load() -> None:
    """Import what a worker imports, and compile its script. Connects to nothing."""
    import ray

    for name in _IMPORTED_LATE:
        # One that is missing is missed by the worker, if at all.
        with suppress(ImportError):
            import_module(name)
    script = Path(ray.__file__).parent / "_private" / "workers" / "default_worker.py"
    _workers[str(script)] = compile(script.read_bytes(), str(script), "exec")
    # Its first call finds the process's title by the environment, which a worker has replaced.
    ray._raylet.setproctitle("session-actor fork server")  # type: ignore[attr-defined]


def run_worker(argv: list[str]) -> None:
    """Run the script ``argv[0]`` as the interpreter would have, as ``__main__``."""
    script = argv[0]
    code = _workers.get(script) or compile(Path(script).read_bytes(), script, "exec")
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=script, __builtins__=__builtins__)
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def skip_setup_worker() -> bool:
    """Have the Ray that this process starts run our ``setup_worker`` in place of its own, which
    imports all of Ray before each worker. False, and nothing changed, if this Ray is another.
    """
    import ray
    from ray._private import ray_constants

    known = ray.__version__.startswith(SUPPORTED) and os.path.isfile(
        Path(ray.__file__).parent / "_private" / "workers" / "setup_worker.py"
    )
    if known and getattr(ray_constants, "SETUP_WORKER_FILENAME", "") == "setup_worker.py":
        ray_constants.SETUP_WORKER_FILENAME = SETUP_WORKER
    return bool(ray_constants.SETUP_WORKER_FILENAME == SETUP_WORKER)


def skip_log_monitor() -> bool:
    """Have the nodes that this process starts run without one: it reads every line that a worker
    writes and publishes it to drivers, and ours do not listen. False, and nothing changed, if this
    Ray is another. (``ray start`` has an option for it.)
    """
    import ray
    from ray._private.node import Node

    if not ray.__version__.startswith(SUPPORTED) or not hasattr(Node, "start_log_monitor"):
        return False
    Node.start_log_monitor = lambda self: None  # type: ignore[method-assign]
    return True


def skip_dashboard() -> bool:
    """Have the nodes that this process starts run without Ray's dashboard: no API server, which a
    head starts and waits for even when it is told not to include one, and no agent for it, which
    takes longer to be there than all the rest of a node and 2 % of a core ever after. False, and
    nothing changed, if this Ray is another.
    """
    import ray
    from ray._private import ray_constants, services

    name = "_build_python_executable_command_memory_profileable"
    build = getattr(services, name, None)
    if not ray.__version__.startswith(SUPPORTED) or build is None:
        return False

    def command(component: str, *args: Any, **kwargs: Any) -> list[str]:
        if component == ray_constants.PROCESS_TYPE_DASHBOARD_AGENT:
            return [sys.executable, "-I", "-S", IDLE_AGENT]
        return list(build(component, *args, **kwargs))

    setattr(services, name, command)
    services.start_api_server = lambda *_, **__: ("", None)
    return True


def skip_client_server() -> bool:
    """Have a head that this process starts run without the server for Ray's remote clients, which
    nobody here is. False, and nothing changed, if this Ray is another.
    """
    import ray
    from ray._private.node import Node

    if not ray.__version__.startswith(SUPPORTED) or not hasattr(Node, "start_ray_client_server"):
        return False
    Node.start_ray_client_server = lambda self: None  # type: ignore[method-assign]
    return True
