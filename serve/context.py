"""What a route gets at: the ports, the owned tasks, the metrics of this app."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from agent_actor.contract import Identifier
from serve.metrics import IngressMetrics
from serve.ports import Ports
from serve.tasks import Tasks


def _ports(request: Request) -> Ports:
    ports: Ports = request.app.state.ports
    return ports


def _tasks(request: Request) -> Tasks:
    tasks: Tasks = request.app.state.tasks
    return tasks


def _metrics(request: Request) -> IngressMetrics:
    metrics: IngressMetrics = request.app.state.metrics
    return metrics


PortsDep = Annotated[Ports, Depends(_ports)]
TasksDep = Annotated[Tasks, Depends(_tasks)]
MetricsDep = Annotated[IngressMetrics, Depends(_metrics)]
SessionIdPath = Annotated[
    Identifier, Path(description="As POST /v1/sessions gave it.", examples=["s-8f3b21c07a9d4e66"])
]
StudyIdPath = Annotated[Identifier, Path(examples=["study-7"])]


class StrictQuery(BaseModel):
    """A misspelt filter must not silently select everything."""

    model_config = ConfigDict(extra="forbid", frozen=True)
