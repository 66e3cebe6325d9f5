"""Signatures of what is sent to webhooks, by Standard Webhooks 1.0 (standardwebhooks.com). Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

SECRET_PREFIX = "whsec_"
USER_AGENT = "interview-fleet"


def signing_key(secret: str) -> bytes:
    """``whsec_`` and base64 as Standard Webhooks writes it, else the text itself. Raises
    ValueError.
    """
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("what follows whsec_ is not base64") from None


def signed_headers(key: bytes, notice_id: str, at: int, body: bytes) -> dict[str, str]:
    """Standard Webhooks 1.0: HMAC-SHA256 over id, time of this attempt and body."""
    signed = b".".join((notice_id.encode(), str(at).encode(), body))
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": notice_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{signature}",
    }
