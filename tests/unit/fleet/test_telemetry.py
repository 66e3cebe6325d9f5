from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import Metric

from fleet.telemetry import keep_sending_metrics, of_registry
from tests.otlp_receiver import OtlpReceiver

ENOUGH_S = 10.0


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        for name, value in receiver.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
        yield receiver


async def test_off_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)

    async def look() -> list[Metric]:
        raise AssertionError("nobody is to be asked")

    async with asyncio.timeout(ENOUGH_S):
        await keep_sending_metrics("roster", look)


async def test_a_look_that_fails_is_not_the_last(receiver: OtlpReceiver) -> None:
    registry = CollectorRegistry()
    Counter("fleet_cold_starts", "How many.", registry=registry).inc()
    looks = 0

    async def look() -> Iterable[Metric]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise ConnectionError("away")
        return await of_registry(registry)()

    task = asyncio.create_task(keep_sending_metrics("roster", look))
    await asyncio.to_thread(receiver.until, lambda: receiver.metrics, ENOUGH_S)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert receiver.metrics == {"roster": {"fleet_cold_starts"}}
