"""The dispatch API from a command's point of view: find it, ask it, say plainly what it said."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

import httpx

from fleet.errors import FleetError
from fleet.local.run_dir import find_running

TIMEOUT_S = 30.0


class ApiProblem(FleetError):
    """The API refused, or is not there. ``status`` is None for the latter."""

    code = "api_problem"

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ApiClient:
    """Blocking; for commands. The key comes from FLEET_API_KEY."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        key = os.environ.get("FLEET_API_KEY", "").split(",")[0].strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S)

    @classmethod
    def find(cls, url: str | None) -> Self:
        """The API at ``url``, or that of this user's newest local fleet. Raises ApiProblem."""
        if url:
            return cls(url)
        running = find_running()
        for fleet in running:
            if address := fleet.addresses.get("api_url"):
                return cls(str(address))
        raise ApiProblem("no fleet is running here; start one with `fleet up`, or give --api URL")

    def get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        return self._call("GET", path, params=params).json()

    def post(self, path: str, params: dict[str, Any] | None = None) -> Any:
        return self._call("POST", path, params=params).json()

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path).json()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ApiProblem(f"{self.url} does not answer: {error}") from None
        if answer.is_error:
            raise ApiProblem(problem_of(answer), answer.status_code)
        return answer


def problem_of(answer: httpx.Response) -> str:
    """A problem document in a line."""
    try:
        body = answer.json()
        fields = "; ".join(f"{e['field']}: {e['problem']}" for e in body.get("errors", []))
        detail = str(body.get("detail") or body.get("title") or answer.reason_phrase)
    except (ValueError, AttributeError, KeyError, TypeError):
        return f"HTTP {answer.status_code} {answer.reason_phrase}"
    return f"HTTP {answer.status_code}: {detail}" + (f" ({fields})" if fields else "")
