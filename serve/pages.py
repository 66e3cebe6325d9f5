"""The two web pages: their HTML, and the assets that it names, as `fleet.local.web` builds them.

Everything is read into memory once, so no path that a caller sends ever reaches the file system.
The pages hold nothing: what they show they ask for, with the token or key of whoever looks.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response

from serve.context import PortsDep
from serve.errors import PagesMissing

router = APIRouter(include_in_schema=False)

DIST = Path(__file__).parent / "web" / "dist"
PARTICIPANT, FLEET = "participant.html", "fleet.html"
_CODINGS = {"br": ".br", "gzip": ".gz"}
"""Best first."""
_FOR_EVER = "public, max-age=31536000, immutable"
_PERMISSIONS = "microphone=(self), screen-wake-lock=(self), camera=(), geolocation=(), payment=()"


@dataclass(frozen=True, kw_only=True)
class WebFile:
    """``forms``: its content by content coding, "" the plain one."""

    media_type: str
    forms: Mapping[str, bytes]

    def answer(self, accept_encoding: str, headers: Mapping[str, str]) -> Response:
        wanted = {part.split(";")[0].strip() for part in accept_encoding.lower().split(",")}
        coding = next((name for name in _CODINGS if name in wanted and name in self.forms), "")
        told = {**headers, "Vary": "Accept-Encoding"}
        if coding:
            told["Content-Encoding"] = coding
        return Response(self.forms[coding], media_type=self.media_type, headers=told)


class WebFiles:
    """What was built, by name."""

    def __init__(self, files: Mapping[str, WebFile]) -> None:
        self._files = files

    @classmethod
    def load(cls, folder: Path = DIST) -> WebFiles:
        """Empty where nothing was built: the API works without its pages."""
        plain = [p for p in folder.rglob("*") if p.is_file() and p.suffix not in _CODINGS.values()]
        return cls({str(path.relative_to(folder)): _read(path) for path in plain})

    def page(self, name: str) -> WebFile:
        """Raises PagesMissing."""
        if name not in self._files:
            raise PagesMissing
        return self._files[name]

    def asset(self, name: str) -> WebFile | None:
        return self._files.get(f"assets/{name}")


def _read(path: Path) -> WebFile:
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    forms = {"": path.read_bytes()}
    for coding, suffix in _CODINGS.items():
        packed = path.with_name(path.name + suffix)
        if packed.is_file():
            forms[coding] = packed.read_bytes()
    return WebFile(media_type=media_type, forms=forms)


def page_headers(livekit_url: str) -> dict[str, str]:
    """What a browser lets a page of ours do: its own scripts and styles, its own origin and the
    LiveKit server, a microphone. No inline script or style, no frame around it, no HTML from text.
    """
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "media-src": "'self' blob:",
        "connect-src": f"'self' {' '.join(_livekit_origins(livekit_url))}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": _PERMISSIONS,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }


def _livekit_origins(url: str) -> tuple[str, str]:
    """The signal connection's, and that of the HTTP request that asks why it was refused."""
    parts = urlsplit(url)
    secure = "s" if parts.scheme in ("wss", "https") else ""
    return f"ws{secure}://{parts.netloc}", f"http{secure}://{parts.netloc}"


def _files(request: Request) -> WebFiles:
    files: WebFiles = request.app.state.web
    return files


FilesDep = Annotated[WebFiles, Depends(_files)]
AcceptEncoding = Annotated[str, Header()]


@router.get("/join/{session_id}")
async def participant_page(
    session_id: str, files: FilesDep, ports: PortsDep, accept_encoding: AcceptEncoding = ""
) -> Response:
    """The same for every session: who may see what is asked with the token of the link's fragment,
    which no server sees."""
    return files.page(PARTICIPANT).answer(accept_encoding, page_headers(ports.livekit_url))


@router.get("/")
async def fleet_page(
    files: FilesDep, ports: PortsDep, accept_encoding: AcceptEncoding = ""
) -> Response:
    return files.page(FLEET).answer(accept_encoding, page_headers(ports.livekit_url))


@router.get("/assets/{name}")
async def asset(name: str, files: FilesDep, accept_encoding: AcceptEncoding = "") -> Response:
    found = files.asset(name)
    if found is None:
        raise HTTPException(404)
    headers = {"Cache-Control": _FOR_EVER, "Cross-Origin-Resource-Policy": "same-origin"}
    return found.answer(accept_encoding, headers)
