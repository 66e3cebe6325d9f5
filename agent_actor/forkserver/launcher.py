"""What Ray starts in place of a worker: ``python -I -S launcher.py [--preload=a,b] WORKER.py ...``.

Without site packages, and importing a handful of modules only, it is up in 15 ms; all it does is
in ``launch``.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path.append(root)
    from agent_actor.forkserver.launch import main

    main(sys.argv[1:])
