from __future__ import annotations

import httpx
import pytest

from serve.bounds import MAX_HEAD_BYTES, MAX_HEADERS, MAX_TARGET_BYTES


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/v1/sessions?cursor=" + "x" * MAX_TARGET_BYTES, [], 414, "target_too_long"),
        ("/" + "x" * MAX_TARGET_BYTES, [], 414, "target_too_long"),
        ("/healthz", [("X-Long", "x" * MAX_HEAD_BYTES)], 431, "head_too_large"),
        ("/healthz", [("X-Many", "x")] * MAX_HEADERS, 431, "head_too_large"),
    ],
)
async def test_a_head_that_is_too_large_is_refused(
    api: httpx.AsyncClient, path: str, headers: list[tuple[str, str]], status: int, code: str
) -> None:
    answer = await api.get(path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-Id"]


async def test_an_ordinary_one_is_not(api: httpx.AsyncClient) -> None:
    headers = [(f"X-{n}", "x" * 100) for n in range(50)]
    assert (await api.get("/healthz?x=" + "x" * 4_000, headers=headers)).status_code == 200
