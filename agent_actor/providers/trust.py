"""Whom providers' servers are verified by, read once for each process rather than each session:
to parse the public CAs takes 25 to 90 ms, on the loop that carries the audio."""

from __future__ import annotations

import os
import ssl
from functools import cache

import certifi


@cache
def trust(ca_cert: str | None = None) -> ssl.SSLContext:
    """The public CAs, or those of SSL_CERT_FILE and SSL_CERT_DIR; with ``ca_cert``, that one
    alone. Shared by all who ask: leave it as it is."""
    if ca_cert is not None:
        return ssl.create_default_context(cafile=ca_cert)
    cafile = os.environ.get("SSL_CERT_FILE") or certifi.where()
    return ssl.create_default_context(cafile=cafile, capath=os.environ.get("SSL_CERT_DIR"))
