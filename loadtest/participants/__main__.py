"""python -m loadtest.participants"""

from __future__ import annotations

from loadtest.participants.cli import main
from loadtest.participants.process import leave

leave(main())
