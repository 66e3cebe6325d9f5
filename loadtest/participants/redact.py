"""Tokens out of texts: the SDK quotes a refused token in its error and in its own log lines."""

from __future__ import annotations

import logging
import re
import sys

TOKEN = re.compile(r"eyJ[\w-]*\.[\w-]+(\.[\w-]*)?")


def redact(text: str) -> str:
    """`text` with everything that looks like a JWT replaced."""
    return TOKEN.sub("[token]", text)


class RedactingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def log_to_stderr(level: int = logging.WARNING) -> None:
    """Route all logging of this process to stderr, with tokens taken out."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
