"""The ``fleet`` command."""

from __future__ import annotations

from fleet.cli.app import main

__all__ = ["main"]
