"""The script in Redis against the model of it that the unit tests go by: the same machine drives
both, and whatever is read from one must be in the other.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from agent_actor.contract import SessionId
from agent_actor.redis_client import open_redis
from fleet.budget.account import Account
from fleet.budget.accounts import Accounts
from fleet.budget.ledger import BudgetFenced, Ledger
from fleet.budget.policy import GrantPolicy
from fleet.budget.sums import Change
from tests.unit.fleet.budget_model import Fleet, LedgerModel, Store, sums_of

T = TypeVar("T")


class RealLedger:
    """A ledger of its own in a real Redis, driven from outside of a loop."""

    def __init__(self, url: str, namespace: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ledger = Ledger(open_redis(url), namespace)

    def take_over(self) -> int:
        return self._run(self._ledger.take_over())

    def write(self, epoch: int, number: int, changes: list[Change]) -> None:
        self._run(self._ledger.write(epoch, number, changes))

    def set_limit(self, epoch: int, scope: str, micro_usd: int | None) -> None:
        self._run(self._ledger.set_limit(epoch, scope, micro_usd))

    def load(self, accounts: Accounts) -> None:
        self._run(self._ledger.load(accounts))

    def accounts(self, ids: list[SessionId]) -> list[Account]:
        return self._run(self._ledger.accounts(ids))

    def close(self) -> None:
        self._run(self._ledger.aclose())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)


class Both:
    """Asks both, and insists on one answer."""

    def __init__(self, model: LedgerModel, real: RealLedger) -> None:
        self.model = model
        self.real = real

    def take_over(self) -> int:
        return self._same(lambda store: store.take_over())

    def write(self, epoch: int, number: int, changes: list[Change]) -> None:
        self._same(lambda store: store.write(epoch, number, changes))

    def set_limit(self, epoch: int, scope: str, micro_usd: int | None) -> None:
        self._same(lambda store: store.set_limit(epoch, scope, micro_usd))

    def load(self, accounts: Accounts) -> None:
        beside = Accounts(policy=GrantPolicy(), limits=accounts.limits.copy(), epoch=accounts.epoch)
        self.model.load(beside)
        self.real.load(accounts)
        assert sums_of(accounts) == sums_of(beside)
        assert accounts.limits == beside.limits
        found = {a.session_id: a for a in accounts.open_accounts()}
        assert found == {a.session_id: a for a in beside.open_accounts()}

    def accounts(self, ids: list[SessionId]) -> list[Account]:
        return self._same(lambda store: store.accounts(ids))

    def close(self) -> None:
        self.real.close()

    def _same(self, ask: Callable[[Store], T]) -> T:
        answers = [_answer(ask, store) for store in (self.model, self.real)]
        (ours, refused), theirs = answers[0], answers[1]
        assert (ours, refused) == theirs
        if refused:
            raise BudgetFenced(0)
        return ours  # type: ignore[return-value]


def _answer(ask: Callable[[Store], T], store: Store) -> tuple[T | None, bool]:
    try:
        return ask(store), False
    except BudgetFenced:
        return None, True


def test_the_script_does_what_the_model_does(shared_redis: str) -> None:
    numbers = itertools.count()
    with asyncio.Runner() as runner:
        loop = runner.get_loop()

        class OnRedis(Fleet):
            def new_store(self) -> Store:
                namespace = f"ledger-{next(numbers)}"
                return Both(LedgerModel(), RealLedger(shared_redis, namespace, loop))

        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            OnRedis,
            settings=settings(
                max_examples=50,
                stateful_step_count=50,
                deadline=None,
                derandomize="CI" in os.environ,
            ),
        )
