"""Logs: one JSON object a line, the session's id in each, no key and nobody's words.

Messages are static, values are fields. What must not be in a log is taken out at the end of the
chain, by the name of its field or by its look, also from what libraries log.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

REDACTED = "[redacted]"

_SENSITIVE = frozenset(
    {
        *("authorization", "cookie", "credential", "credentials", "jwt", "key", "keys"),
        *("passphrase", "password", "secret", "secrets", "token", "tokens"),
        *("instruction", "instructions", "message", "messages", "metadata", "prompt", "suffix"),
        *("text", "transcript", "transcripts", "transcription", "utterance"),
    }
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_GLUED = re.compile(r"(apikey|accesstoken|authtoken|password)", re.IGNORECASE)
_LOOKS = (
    (re.compile(r"((?:access_token|api_key|apikey|key|token)=)[^&\s\"']+", re.IGNORECASE), r"\1"),
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)"), r"\1"),
    (re.compile(r"(Bearer\s+)[\w.~+/=-]+", re.IGNORECASE), r"\1"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]+)?"), ""),
    (re.compile(r"\bsk-[\w-]{8,}"), ""),
    (re.compile(r"\bAIza[\w-]{20,}"), ""),
)


def is_sensitive(name: str) -> bool:
    """Whether a field of this name is taken out: by whole words, so "context" may stay."""
    words = {word.lower() for word in _WORDS.findall(name)}
    return not words.isdisjoint(_SENSITIVE) or bool(_GLUED.search(name))


def scrub(text: str) -> str:
    """``text`` without what looks like a key, a token or a password in a URL."""
    for look, keep in _LOOKS:
        text = look.sub(keep + REDACTED, text)
    return text


def redact(value: Any, name: str = "") -> Any:
    """``value`` as it may be logged under ``name``. Numbers stay: counts of tokens are wanted."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if name and is_sensitive(name):
        return REDACTED
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {key: redact(part, str(key)) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(part) for part in value]
    return scrub(str(value))


def configure_logs(component: str, *, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send everything this process logs, libraries too, to ``stream`` (stderr) as JSON lines.

    Calling it again replaces what was set before.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _component(component),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("livekit", "google_genai", "openai", "httpx", "websockets", "aiohttp.access"):
        # Below warnings these log what was said, or whole requests.
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextmanager
def session_logs(session_id: str, **fields: Any) -> Iterator[None]:
    """Put the session's id, and ``fields``, into each line logged in this context. Tasks that
    are started inside inherit it.
    """
    with structlog.contextvars.bound_contextvars(session_id=session_id, **fields):
        yield


def _formatter(shared: list[Processor]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _redact_event,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )


def _component(name: str) -> Processor:
    def add(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["component"] = name
        return event

    return add


def _redact_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: redact(value, name) for name, value in event.items()}
