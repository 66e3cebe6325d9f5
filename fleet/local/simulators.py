"""The provider simulators of loadtest/, as child processes.

They are started by module name and never imported: they are a black box to the control plane,
reached only by the addresses that their one ready line gives.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from fleet.local.errors import LocalPartError
from fleet.local.processes import ChildProcess, Command, running
from fleet.local.run_dir import RunDir

READY_S = 30.0


class SimulatorKind(StrEnum):
    OPENAI = "openai"
    GEMINI = "gemini"


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """A running simulator.

    `base_url` is for the provider's plugin, `control_url` for invoices and faults; `ca_cert` is
    the certificate to trust at `base_url`, where it speaks TLS.
    """

    kind: SimulatorKind
    base_url: str
    control_url: str
    ca_cert: Path | None
    child: ChildProcess


@asynccontextmanager
async def simulator(
    run: RunDir, kind: SimulatorKind, arguments: Sequence[str] = (), *, name: str | None = None
) -> AsyncIterator[Simulator]:
    """A simulator for the length of the block. Raises PartExited, PartNotReady, LocalPartError."""
    name = name or f"simulator-{kind}"
    if kind is SimulatorKind.GEMINI:
        arguments = ["--tls-dir", str(run.folder(f"{name}-tls")), *arguments]
    command = Command(
        name=name,
        program=sys.executable,
        arguments=["-m", "loadtest.simulators", kind, *arguments],
    )
    async with running(command, logs=run.logs) as child:
        told = read_ready_line(child.name, await child.first_line(deadline_s=READY_S))
        yield Simulator(
            kind=kind,
            base_url=told["base_url"],
            control_url=told["control_url"],
            ca_cert=Path(told["ca_cert"]) if told.get("ca_cert") else None,
            child=child,
        )


def read_ready_line(name: str, line: str) -> dict[str, Any]:
    """The addresses in a simulator's ready line. Raises LocalPartError if it is no such line."""
    try:
        told = json.loads(line)
        if told["ready"] is True and told["base_url"] and told["control_url"]:
            return dict(told)
    except (ValueError, KeyError, TypeError):
        pass
    raise LocalPartError(f"{name} said {line[:200]!r} instead of a ready line")
