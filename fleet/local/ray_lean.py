"""``python -m fleet.local.ray_lean start ...``: Ray's own command, for nodes of which several share
a machine with everything else: without the dashboard, its API server and agents, and without the
server for remote clients.
"""

from __future__ import annotations

from agent_actor.forkserver import ray_private, ray_start


def main() -> None:
    ray_private.skip_dashboard()
    ray_private.skip_client_server()
    ray_start.main()


if __name__ == "__main__":
    main()
