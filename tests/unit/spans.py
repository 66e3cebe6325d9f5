"""Spans kept in memory, for tests to look at."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agent_actor.span_queue import tracer_into
from agent_actor.telemetry import Tracer

CALLERS_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLERS_SPAN = "00f067aa0ba902b7"
CALLERS_TRACEPARENT = f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"


class Spans:
    """``tracer`` writes; what has ended stands in ``over``, in that order."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        queue = SimpleSpanProcessor(self._exporter)
        self.tracer = Tracer(tracer_into(queue, Resource.get_empty()))

    @property
    def over(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.over]

    def named(self, name: str) -> ReadableSpan:
        """The one by that name."""
        (found,) = [span for span in self.over if span.name == name]
        return found

    def edges(self) -> set[tuple[str, str | None]]:
        """Each span's name with its parent's; None where that is not among them."""
        by_id = {span.context.span_id: span.name for span in self.over if span.context}
        return {
            (span.name, by_id.get(span.parent.span_id) if span.parent else None)
            for span in self.over
        }

    def traces(self) -> set[str]:
        return {f"{span.context.trace_id:032x}" for span in self.over if span.context}


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})
