"""What a launcher and the fork server say to each other: one Unix connection for each worker.

1. launcher → server: a request. FORK carries argv, cwd and environment of the worker to be, and
   file descriptors 0 to 2; RETIRE asks a server of older code to end with its last worker.
2. forked worker → launcher: ``FORKED``, when it has taken all that over. Until then the launcher
   may still start the worker plainly, from then on never: Ray would see two of one id.
3. server → launcher: the worker's exit status, a line of decimal digits. An end of the connection
   without it means the same: server and worker both held it.

The connection is also what ties the worker to its launcher: see ``child``.

Imported by the launcher, so nothing here may cost time to import: no dataclasses, no typing.
"""

from __future__ import annotations

import os

FORK = b"F"
RETIRE = b"R"
FORKED = b"forked\n"
MAGIC = b"agentfork1"
MAX_BODY_BYTES = 16 * 1024 * 1024
"""Far above what Linux lets a process have as arguments and environment."""
_SIZE_BYTES = 4
HEADER_BYTES = len(MAGIC) + 1 + _SIZE_BYTES
SIGNALLED = 128
"""As a shell says it: 128 + N for a worker that signal N ended."""


class BadRequest(Exception):
    """The other side speaks another version, or is none of ours."""


class Request:
    """A worker as Ray wants it started. Strings are bytes: they need not be valid text."""

    __slots__ = ("argv", "cwd", "env")

    def __init__(self, argv: list[bytes], cwd: bytes, env: dict[bytes, bytes]) -> None:
        self.argv = argv
        self.cwd = cwd
        self.env = env


def own_request(argv: list[str]) -> Request:
    """A worker with ``argv``, and what else it needs from this process."""
    return Request([os.fsencode(each) for each in argv], os.getcwdb(), dict(os.environb))


def encode(kind: bytes, request: Request | None = None) -> bytes:
    """A whole message. Raises ValueError for what no process could have been given."""
    body = b"" if request is None else _body(request)
    return MAGIC + kind + len(body).to_bytes(_SIZE_BYTES, "big") + body


def decode_header(header: bytes) -> tuple[bytes, int]:
    """The kind and the body's length. Raises BadRequest."""
    kind, size = header[len(MAGIC) : len(MAGIC) + 1], int.from_bytes(header[-_SIZE_BYTES:], "big")
    if len(header) != HEADER_BYTES or not header.startswith(MAGIC) or size > MAX_BODY_BYTES:
        raise BadRequest("not a request of this protocol")
    if kind not in (FORK, RETIRE):
        raise BadRequest(f"no such kind of request: {kind!r}")
    return kind, size


def decode_body(body: bytes) -> Request:
    """Raises BadRequest."""
    parts = body.split(b"\0")
    try:
        count, cwd = int(parts[0]), parts[1]
        argv, variables, last = parts[2 : 2 + count], parts[2 + count : -1], parts[-1]
    except (ValueError, IndexError):
        raise BadRequest("a request cut short") from None
    if not argv or len(argv) != count or last or not all(b"=" in each for each in variables):
        raise BadRequest("a request cut short")
    return Request(argv, cwd, dict(each.split(b"=", 1) for each in variables))


def encode_exit(wait_status: int) -> bytes:
    """``wait_status`` is as ``os.waitpid`` gives it."""
    code = os.waitstatus_to_exitcode(wait_status)
    return b"%d\n" % (SIGNALLED - code if code < 0 else code)


def _body(request: Request) -> bytes:
    variables = [name + b"=" + value for name, value in request.env.items()]
    parts = [b"%d" % len(request.argv), request.cwd, *request.argv, *variables]
    if any(b"\0" in part for part in parts):
        raise ValueError("a NUL byte in a worker's arguments or environment")
    return b"".join(part + b"\0" for part in parts)
