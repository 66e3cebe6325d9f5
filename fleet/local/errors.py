"""What can go wrong with the local parts.

LocalPartError
├── ToolUnavailable      a server program is neither here nor could be made
├── PartNotReady         a part ran but did not become ready in time
├── PartExited           a part ended on its own, while starting or later
└── RunDirError          the run folder cannot be used
"""

from __future__ import annotations

from pathlib import Path

from fleet.errors import FleetError


class LocalPartError(FleetError):
    """The message says what to do, and where the log is when there is one."""

    code = "local_part"


class ToolUnavailable(LocalPartError):
    code = "local_tool_unavailable"


class RunDirError(LocalPartError):
    code = "local_run_dir"


class PartNotReady(LocalPartError):
    code = "local_part_not_ready"

    def __init__(self, name: str, deadline_s: float, log: Path) -> None:
        super().__init__(name, deadline_s, log)
        self.name, self.deadline_s, self.log = name, deadline_s, log

    def __str__(self) -> str:
        return f"{self.name} was not ready after {self.deadline_s:g} s; its log: {self.log}"


class PartExited(LocalPartError):
    code = "local_part_exited"

    def __init__(self, name: str, exit_code: int, log: Path) -> None:
        super().__init__(name, exit_code, log)
        self.name, self.exit_code, self.log = name, exit_code, log

    def __str__(self) -> str:
        return f"{self.name} ended on its own (exit {self.exit_code}); its log: {self.log}"
