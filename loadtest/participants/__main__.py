"""python -m loadtest.participants"""

from __future__ import annotations

import sys

from loadtest.participants.cli import main

sys.exit(main())
