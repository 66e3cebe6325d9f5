"""Who may call: a bearer key, unless the ingress listens on loopback only and has no keys.

Several keys are valid at once, so that one can be replaced while its callers move over.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from serve.errors import HostNotAllowed, KeyMissing, KeyWrong

_scheme = HTTPBearer(auto_error=False, description="A key of FLEET_API_KEY.")


class KeyRing:
    """The keys that are valid now. Empty means open: allowed on loopback only."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(_digest(key) for key in keys if key)

    @property
    def is_open(self) -> bool:
        return not self._digests

    def holds(self, presented: str) -> bool:
        """Constant time in the keys: every digest is compared, whichever matches."""
        mine = _digest(presented)
        found = False
        for digest in self._digests:
            found |= hmac.compare_digest(digest, mine)
        return found


def is_loopback(host: str) -> bool:
    """Whether a bind address or a Host header's name can be reached from this machine only."""
    name = host.strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def may_listen(host: str, keys: KeyRing) -> bool:
    """Without a key only loopback will do: fail closed, before the first request."""
    return not keys.is_open or is_loopback(host)


async def require_key(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)],
) -> None:
    """Dependency of every route but probes and the webhook. Raises KeyMissing, KeyWrong.

    An open ingress answers to loopback names alone: a web page that points its own host name
    at 127.0.0.1 (DNS rebinding) must not be able to start interviews.
    """
    keys: KeyRing = request.app.state.keys
    if keys.is_open:
        if not is_loopback(request.headers.get("host", "")):
            raise HostNotAllowed("without a key this ingress answers to loopback names only")
        return
    if credentials is None:
        raise KeyMissing
    if not keys.holds(credentials.credentials):
        raise KeyWrong


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
