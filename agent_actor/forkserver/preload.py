"""Everything that a session actor's process does once, done before the fork.

No thread and no connection may come of it: ``server.check_fit`` looks. So the WebRTC library is
not started here; that is the first thing after the fork, in ``agent_actor.warm``.
"""

from __future__ import annotations

import gc
from importlib import import_module

import structlog

from agent_actor.forkserver import ray_private

log = structlog.get_logger(__name__)

ACTOR = "agent_actor.actor"


def load(modules: tuple[str, ...] = ()) -> None:
    """``modules`` are imported after the actor's own. Call on the main thread: livekit's plugins
    register themselves on import, and only there. Leaves the garbage collector off: it would
    touch, and so copy, every page that is to be shared.
    """
    gc.disable()
    ray_private.load()
    import_module(ACTOR)
    for module in modules:
        try:
            import_module(module)
        except Exception as error:
            # The worker may yet find it: Ray adds its driver's paths.
            log.warning("could not preload", module=module, error=str(error))
    import_module("agent_actor.prepare").prepare()
