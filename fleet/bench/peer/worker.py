"""The livekit-agents worker of the comparison: ``python -m fleet.bench.peer.worker start``.

``AgentServer`` as it comes, in production mode, but for the number of idle processes (our pool's)
and an address for its health check that no other worker has. What a job needs is preloaded in its
fork server, which is not the default and in its favour.

As it comes it refuses jobs while the machine is more than 70 % busy, and those are lost; for bursts
there is a second worker, which does not.
"""

from __future__ import annotations

import os

from livekit.agents import AgentServer, cli

from fleet.bench.peer import contract, interview


def main() -> None:
    server = AgentServer(
        num_idle_processes=int(os.environ[contract.IDLE_VARIABLE]),
        setup_fnc=interview.set_up,
        preload_modules=[interview.__name__],
        host="127.0.0.1",
        port=0,
        http_proxy=None,
    )
    if contract.UNBOUNDED_VARIABLE in os.environ:
        # A higher threshold would not do: LiveKit gives no job to a worker that reports full load.
        server.load_fnc = _idle
    server.rtc_session(interview.hold, agent_name=os.environ[contract.AGENT_NAME_VARIABLE])
    cli.run_app(server)


def _idle() -> float:
    return 0.0


if __name__ == "__main__":
    main()
