"""The ingress on a running cluster: `python -m serve`, until SIGTERM or Ctrl-C.

Ray's address and all settings come from the environment (RAY_ADDRESS, FLEET_*, LIVEKIT_*,
REDIS_URL). One JSON line on standard output says when and where it answers.
"""

from __future__ import annotations

import json
import signal
import sys
import threading

import ray

from fleet.errors import FleetError
from fleet.logs import configure_logs
from fleet.settings import load_settings
from serve.ingress import start_ingress, stop_ingress


def main() -> int:
    """0 after an orderly stop, 2 for settings that cannot be used."""
    configure_logs("ingress-driver")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings()
    except FleetError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    # Ray prints the raylet's warnings to standard output, which is ours for the one line.
    told, sys.stdout = sys.stdout, sys.stderr
    ray.init(address=settings.ray_address, namespace=settings.ray_namespace, log_to_driver=False)
    # Ray takes SIGTERM for itself when it connects.
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        address = start_ingress(settings)
        told.write(json.dumps({"ready": True, "url": address.url}) + "\n")
        told.flush()
        stop.wait()
    finally:
        stop_ingress()
        ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
