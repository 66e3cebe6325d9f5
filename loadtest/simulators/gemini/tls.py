"""A throw-away certificate authority on disk, for clients that only speak wss."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


def make_server_context(tls_dir: Path, *, host: str) -> tuple[ssl.SSLContext, Path]:
    """A server context for `host`, localhost and 127.0.0.1, and the CA's certificate (PEM).

    Only the CA's certificate is written; its key and the server's stay in memory.
    """
    authority = trustme.CA()
    certificate = authority.issue_cert(*dict.fromkeys((host, "localhost", "127.0.0.1")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate.configure_cert(context)
    tls_dir.mkdir(parents=True, exist_ok=True)
    ca_path = tls_dir / "ca.pem"
    authority.cert_pem.write_to_path(ca_path)
    return context, ca_path
