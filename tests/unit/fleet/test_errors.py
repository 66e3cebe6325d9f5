from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from fleet import errors
from fleet.budget.ledger import BudgetFenced
from fleet.cli.client import ApiProblem
from fleet.errors import FleetError
from fleet.local import errors as local_errors

EXAMPLES: list[FleetError] = [
    errors.FleetError("why"),
    errors.SettingsInvalid({"REDIS_URL": "no such scheme"}),
    errors.Unauthorized("no key"),
    errors.WebhookRejected("why"),
    errors.SessionNotFound("s-1"),
    errors.SessionExists("s-1"),
    errors.IdempotencyConflict("s-1"),
    errors.CursorInvalid(),
    errors.StateConflict(session_id="s-1", state="gone", attempt=2, wanted="live"),
    errors.TooManyObservers("s-1", 16),
    errors.RoomTaken("s-1"),
    errors.NodeNotFound("10.0.0.9", several=True),
    errors.JobConfigInvalid("job metadata", "not JSON"),
    errors.FleetFull(retry_after_s=5.0),
    errors.FleetDraining(),
    errors.DispatchFailed(
        session_id="s-1", step="join", cause_code="metadata_timeout", reason="why", retryable=True
    ),
    errors.DispatchTimeout(session_id="s-1", step="room", waited_s=3.0),
    errors.StoreUnavailable("get"),
    errors.RegistryUnavailable("get", "ConnectionError"),
    errors.JournalUnavailable("read"),
    errors.BudgetUnavailable("no answer"),
    errors.BudgetExhausted("study-7"),
    errors.ControlPlaneUnavailable("roster"),
    errors.ActorLost("roster", "it exited"),
    errors.ActorMissing("roster"),
    errors.NoAnswer("roster", 5.0),
    errors.LiveKitError("create_room", "why"),
    errors.LiveKitUnavailable("create_room", "TimeoutError"),
    errors.LiveKitRefused("create_room", "invalid_argument (400)"),
    errors.RoomNotFound("update_metadata", "not_found (404)"),
    BudgetFenced(7),
    ApiProblem("HTTP 404: no such session", 404),
    local_errors.LocalPartError("why"),
    local_errors.ToolUnavailable("why"),
    local_errors.RunDirError("why"),
    local_errors.PartNotReady("redis", 2.5, Path("log")),
    local_errors.PartExited("redis", 1, Path("log")),
]


def tree(cls: type[FleetError]) -> set[type[FleetError]]:
    return {cls}.union(*(tree(sub) for sub in cls.__subclasses__()))


def test_every_error_has_an_example() -> None:
    assert {type(error) for error in EXAMPLES} == tree(FleetError)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
def test_errors_cross_processes_whole(error: FleetError) -> None:
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__
    assert (again.code, again.retryable, again.http_status, again.retry_after_s) == (
        error.code,
        error.retryable,
        error.http_status,
        error.retry_after_s,
    )


def test_codes_are_unique_and_fit_for_metrics() -> None:
    codes = [cls.code for cls in tree(FleetError)]

    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
def test_what_may_be_retried_is_no_fault_of_the_caller(error: FleetError) -> None:
    assert error.http_status >= 500 or not error.retryable


def test_the_cause_of_a_failed_dispatch_decides_whether_to_try_again() -> None:
    def failed(retryable: bool) -> errors.DispatchFailed:
        return errors.DispatchFailed(
            session_id="s-1", step="join", cause_code="x", reason="why", retryable=retryable
        )

    assert failed(True).retryable
    assert not failed(False).retryable
