from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message

from serve.body import MAX_JSON_BYTES, parse_json_object, read_json_object, read_limited
from serve.errors import BodyNotJson, BodyTooLarge, BodyTooSlow, MediaTypeWrong


def request(*parts: bytes, end: bool = True, **headers: str) -> Request:
    """One that delivers ``parts`` and then, unless it ends, nothing more."""
    waiting = list(parts)

    async def receive() -> Message:
        if not waiting and not end:
            await asyncio.Event().wait()
        body = waiting.pop(0) if waiting else b""
        return {"type": "http.request", "body": body, "more_body": bool(waiting) or not end}

    raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


async def test_reads_a_body_in_parts() -> None:
    assert await read_limited(request(b"ab", b"c"), limit_bytes=3) == b"abc"


async def test_an_announced_size_over_the_limit_is_refused_unread() -> None:
    with pytest.raises(BodyTooLarge):
        await read_limited(request(end=False, content_length="4"), limit_bytes=3)


async def test_an_unannounced_size_over_the_limit_is_refused_midway() -> None:
    with pytest.raises(BodyTooLarge):
        await read_limited(request(b"ab", b"cd", end=False), limit_bytes=3)


async def test_a_body_that_never_ends_is_given_up() -> None:
    with pytest.raises(BodyTooSlow):
        await read_limited(request(b"a", end=False), limit_bytes=3, timeout_s=0.01)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content_type": "text/plain"},
        {"content_type": "application/json; charset=latin-1"},
        {"content_type": "application/json", "content_encoding": "gzip"},
    ],
)
async def test_another_media_type_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(MediaTypeWrong):
        await read_json_object(request(b"{}", **headers))


async def test_json_is_read() -> None:
    asked = request(b'{"a": 1}', content_type='Application/JSON; charset="UTF-8"')
    assert await read_json_object(asked) == {"a": 1}


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "object"),
        (b'"{}"', "object"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1, "a": 2}', "twice: a"),
        (b'{"b": {"a": 1, "a": 2}}', "twice: a"),
        (b"\xff{}", "UTF-8"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
    ],
)
def test_what_is_not_json_is_refused(raw: bytes, says: str) -> None:
    assert len(raw) <= MAX_JSON_BYTES
    with pytest.raises(BodyNotJson, match=says):
        parse_json_object(raw)
