"""Request bodies, read with a size limit and a deadline before anything is parsed.

FastAPI would read a body whole before it asks for the key or looks at the size. So the routes
that take one read it here, after the key was checked.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

from starlette.requests import Request

from serve.errors import BodyNotJson, BodyTooLarge, BodyTooSlow, MediaTypeWrong

MAX_JSON_BYTES = 256 * 1024
"""Above the contract's own 64 KiB: the same text may come in with every character escaped."""

MAX_WEBHOOK_BYTES = 256 * 1024
READ_TIMEOUT_S = 10.0


async def read_limited(
    request: Request, *, limit_bytes: int, timeout_s: float = READ_TIMEOUT_S
) -> bytes:
    """The raw body. Raises BodyTooLarge as soon as it is known to be, BodyTooSlow."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise BodyTooLarge(limit_bytes=limit_bytes)
    parts = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                parts += part
                if len(parts) > limit_bytes:
                    raise BodyTooLarge(limit_bytes=limit_bytes)
    except TimeoutError:
        raise BodyTooSlow(f"the body was not complete after {timeout_s:g} s") from None
    return bytes(parts)


async def read_json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises MediaTypeWrong, BodyTooLarge, BodyTooSlow, BodyNotJson."""
    _check_media_type(request)
    return parse_json_object(await read_limited(request, limit_bytes=MAX_JSON_BYTES))


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """Strict JSON (RFC 8259): UTF-8, no NaN, no key twice, an object. Raises BodyNotJson."""
    try:
        data = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_no_key_twice, parse_constant=_no_constant
        )
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError:
        raise BodyNotJson("the body is not UTF-8") from None
    except UnicodeEncodeError:
        raise BodyNotJson("the body holds half of a surrogate pair") from None
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BodyNotJson(f"the body is not JSON: {why}") from None
    if not isinstance(data, dict):
        raise BodyNotJson("the body must be a JSON object")
    return data


def _check_media_type(request: Request) -> None:
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "application/json":
        raise MediaTypeWrong("send the body as 'Content-Type: application/json'")
    charset = parameters.strip().lower().replace('"', "").replace(" ", "")
    if charset not in ("", "charset=utf-8"):
        raise MediaTypeWrong("JSON is UTF-8: leave the charset out")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise MediaTypeWrong("send the body without a content coding")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"key given twice: {', '.join(twice)[:200]}")
    return data


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
