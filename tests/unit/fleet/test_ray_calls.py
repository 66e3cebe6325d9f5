"""What Ray's errors become."""

from __future__ import annotations

import pytest
import ray
from ray.exceptions import GetTimeoutError, RpcError

from fleet import ray_calls
from fleet.errors import ActorLost, ActorMissing, ControlPlaneUnavailable


@pytest.mark.parametrize("error", [GetTimeoutError("gcs"), RpcError("gcs")])
def test_a_head_that_does_not_answer_is_no_missing_actor(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(ray, "get_actor", _raising(error))
    with pytest.raises(ControlPlaneUnavailable) as raised:
        ray_calls.find("roster", "ns")
    assert not isinstance(raised.value, ActorLost)


def test_an_actor_that_is_not_there_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get_actor", _raising(ValueError("no such actor")))
    with pytest.raises(ActorMissing):
        ray_calls.find("roster", "ns")


def _raising(error: Exception) -> object:
    def get_actor(*_: object, **__: object) -> None:
        raise error

    return get_actor
