"""A fork server that has imported nothing, for tests: FOLDER NAME RAYLET_PID IDLE_S."""

from __future__ import annotations

import os
import runpy
import socket
import sys

from agent_actor.forkserver import launch
from agent_actor.forkserver.child import become
from agent_actor.forkserver.place import Place
from agent_actor.forkserver.server import Server


def main() -> None:
    folder, name, raylet_pid, idle_s = sys.argv[1:]
    place = Place(folder, name, int(raylet_pid))
    listener = socket.socket(socket.AF_UNIX)
    launch.with_folder(folder, name, listener.bind)
    listener.listen()
    raylet = os.pidfd_open(place.raylet_pid)
    os.write(1, b"ready\n")
    worker = Server(place, listener, raylet, idle_s=float(idle_s)).serve()
    runpy.run_path(become(worker.request, worker.handles, worker.connection)[0])


if __name__ == "__main__":
    main()
