"""``python -m agent_actor.forkserver.ray_start start ...``: Ray's own command, for a node whose
session actors start without Ray's preparation of each worker. For the start command of a node in
place of ``ray``; everything else about it is Ray's.
"""

from __future__ import annotations

from agent_actor.forkserver import ray_private


def main() -> None:
    ray_private.skip_setup_worker()
    from ray.scripts.scripts import main as ray_command

    ray_command()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
