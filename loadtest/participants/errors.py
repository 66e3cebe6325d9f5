"""Every error of the synthetic participants.

ParticipantError
├── BadScript          the script is not one (names the key)
├── Broken             something went wrong inside it, or inside the SDK
└── ConnectFailed      the room could not be joined
    ├── TokenRejected      the server answered and refused the token
    └── ServerUnreachable  no answer from the server (retryable)
"""

from __future__ import annotations

from typing import ClassVar


class ParticipantError(Exception):
    """Base of all errors here. `exit_status` is what the command line exits with."""

    retryable: ClassVar[bool] = False
    exit_status: ClassVar[int] = 1


class BadScript(ParticipantError):
    """A script that cannot be followed; the message names the key that is wrong."""

    exit_status = 2


class BadOrder(ParticipantError):
    """A line of `many` that orders nothing; the message names the key, never the line's text."""

    exit_status = 2


class Broken(ParticipantError):
    """Not foreseen. Of many in one process the others go on."""


class ConnectFailed(ParticipantError):
    """The room could not be joined."""

    exit_status = 5


class TokenRejected(ConnectFailed):
    """The server refused the token: wrong key, expired, not a token, or no grant to join."""

    exit_status = 3


class ServerUnreachable(ConnectFailed):
    """Nothing that speaks LiveKit answered at the URL within the deadline."""

    retryable = True
    exit_status = 4
