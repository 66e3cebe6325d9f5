from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from serve.app import create_app
from tests.unit.serve.fakes import FakeFleet

BASE_URL = "http://127.0.0.1:8000"


def client_of(app: FastAPI, **options: object) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url=BASE_URL, **options)  # type: ignore[arg-type]


@pytest.fixture
def fleet() -> FakeFleet:
    return FakeFleet()


@pytest.fixture
def app(fleet: FakeFleet) -> FastAPI:
    return create_app(fleet.ports())


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client
