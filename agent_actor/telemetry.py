"""Traces: what a process writes spans with. Off unless the environment switches it on.

``open_tracer`` is called once a process, after any fork: sending takes a thread. Spans that have
ended wait in a bounded queue for it (``agent_actor.span_queue``); who ends one never waits for a
collector.

The provider is ours and never the process's global one: the framework traces too, and writes
instructions and what was said into its spans. Of attributes only those in ``ATTRIBUTES`` get out.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Protocol

import structlog
from opentelemetry.context import Context
from opentelemetry.trace import Span as OTelSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace import Tracer as OTelTracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from agent_actor.logs import scrub
from agent_actor.span_names import ATTRIBUTES, ERROR_TYPE, Attributes, Value

SWITCH = "FLEET_TELEMETRY"
"""``on`` or ``off``; without it the endpoint decides."""
FLUSH_DEADLINE_S = 1.0
LONGEST_TEXT = 200
_NS = 1_000_000_000

log = structlog.get_logger(__name__)

_W3C = TraceContextTextMapPropagator()


def is_on(signal: str, environment: Mapping[str, str]) -> bool:
    """Whether ``signal``, TRACES or METRICS, is sent: by SWITCH and the standard's variables."""
    wish = environment.get(SWITCH, "").lower()
    if wish == "off" or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if environment.get(f"OTEL_{signal}_EXPORTER") not in (None, "", "otlp"):
        return False
    if wish != "on" and not _said("ENDPOINT", signal, environment):
        return False
    protocol = _said("PROTOCOL", signal, environment)
    if protocol not in ("", "http/protobuf"):
        log.warning("telemetry is off: only http/protobuf is spoken", protocol=protocol)
        return False
    return True


def _said(what: str, signal: str, environment: Mapping[str, str]) -> str:
    general = environment.get(f"OTEL_EXPORTER_OTLP_{what}", "")
    return environment.get(f"OTEL_EXPORTER_OTLP_{signal}_{what}") or general


class Sender(Protocol):
    """Takes the spans that have ended. The first two may take long: for another thread."""

    def force_flush(self) -> object: ...

    def shutdown(self) -> None: ...

    @property
    def lost(self) -> int:
        """Spans that found no place in the queue, or no collector."""


class Span:
    """Something under way. ``end`` it; what is done to it after that changes nothing.

    ``traceparent`` is for whoever does a part of it, in another process too. None: nothing is
    traced.
    """

    def __init__(self, span: OTelSpan | None, tracer: Tracer) -> None:
        self._span = span
        self._tracer = tracer
        self.traceparent = None if span is None else _traceparent(span)

    def note(self, attributes: Attributes) -> None:
        if self._span is not None:
            self._span.set_attributes(_allowed(attributes))

    def end(self, error: BaseException | str | None = None) -> None:
        """``error``: why it failed, an exception or its code. No exception's words get out."""
        span, self._span = self._span, None
        if span is not None:
            _fail(span, error)
            span.end()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """What is raised in the block ends it."""
        try:
            yield
        except BaseException as error:
            self.end(error)
            raise

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A part of it, which ends with the block."""
        part = self._tracer.start(name, parent=self.traceparent)
        with part.guard():
            yield
        part.end()


class Tracer:
    """A process's spans. ``start`` and ``write`` return at once."""

    def __init__(self, tracer: OTelTracer | None = None, sender: Sender | None = None) -> None:
        self._tracer = tracer
        self._sender = sender

    @property
    def lost(self) -> int:
        return self._sender.lost if self._sender else 0

    def start(
        self,
        name: str,
        *,
        parent: str | None = None,
        attributes: Attributes | None = None,
        serves: bool = False,
    ) -> Span:
        """``parent``: a traceparent; without a valid one a new trace begins. ``serves``: it answers
        a request from outside."""
        if self._tracer is None:
            return Span(None, self)
        kind = SpanKind.SERVER if serves else SpanKind.INTERNAL
        span = self._tracer.start_span(
            name, context=_context(parent), kind=kind, attributes=_allowed(attributes or {})
        )
        return Span(span, self)

    def write(
        self,
        name: str,
        *,
        parent: str | None,
        began_at: float,
        ended_at: float,
        attributes: Attributes,
        error: str | None = None,
        calls: bool = False,
    ) -> None:
        """A span that is over, in epoch seconds. ``calls``: it was something outside."""
        if self._tracer is None:
            return
        kind = SpanKind.CLIENT if calls else SpanKind.INTERNAL
        span = self._tracer.start_span(
            name,
            context=_context(parent),
            kind=kind,
            attributes=_allowed(attributes),
            start_time=round(began_at * _NS),
        )
        _fail(span, error)
        span.end(round(max(began_at, ended_at) * _NS))

    async def flush(self, deadline_s: float = FLUSH_DEADLINE_S) -> None:
        """Send what waits. What a collector has not taken by then is sent later, or lost."""
        if self._sender is not None:
            await in_thread(self._sender.force_flush, deadline_s)

    async def aclose(self, deadline_s: float = FLUSH_DEADLINE_S) -> None:
        """The same for the last time."""
        if self._sender is not None:
            await in_thread(self._sender.shutdown, deadline_s)


NO_TRACER = Tracer()
"""Telemetry that is off."""


def open_tracer(component: str, *, on_lost: Callable[[int], None] | None = None) -> Tracer:
    """This process's tracer, by its environment. Starts a thread if telemetry is on.

    ``on_lost`` is told, on any thread, how many spans nobody took.
    """
    if not is_on("TRACES", os.environ):
        return NO_TRACER
    # The SDK and all that sends is not imported for nothing.
    from agent_actor import span_queue

    try:
        tracer, sender = span_queue.open_queue(component, on_lost)
    except Exception as error:
        # Nobody's interview is to fail over a variable that cannot be read.
        log.warning("traces are off", error=scrub(str(error)))
        return NO_TRACER
    return Tracer(tracer, sender)


def trace_id_of(traceparent: str | None) -> str | None:
    """For log lines, so that one finds the other."""
    return traceparent.split("-")[1] if traceparent else None


def _allowed(attributes: Attributes) -> dict[str, Value]:
    return {name: _short(value) for name, value in attributes.items() if name in ATTRIBUTES}


def _short(value: Value) -> Value:
    if isinstance(value, tuple):
        return tuple(scrub(each)[:LONGEST_TEXT] for each in value)
    return scrub(value)[:LONGEST_TEXT] if isinstance(value, str) else value


def _fail(span: OTelSpan, error: BaseException | str | None) -> None:
    if error is None:
        return
    code = error if isinstance(error, str) else getattr(error, "code", type(error).__name__)
    span.set_attribute(ERROR_TYPE, _short(str(code)))
    span.set_status(Status(StatusCode.ERROR))


def _context(parent: str | None) -> Context:
    """Never the ambient one: the framework's spans are in it."""
    return _W3C.extract({"traceparent": parent} if parent else {}, context=Context())


def _traceparent(span: OTelSpan) -> str | None:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context=set_span_in_context(span, Context()))
    return carrier.get("traceparent")


async def in_thread(work: Callable[[], object], deadline_s: float) -> None:
    """In a thread that goes on without us if it takes longer, and that no exit waits for."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            work()
        except Exception as error:
            log.warning("telemetry was not sent", error_type=type(error).__name__)
        # The loop may be closed by now.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="telemetry", daemon=True).start()
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline_s):
            await done.wait()
