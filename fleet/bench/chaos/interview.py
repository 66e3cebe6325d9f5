"""One interview under way on a stage, seen from outside: by its participant, its journal, the
provider's invoice and our ledger."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from agent_actor.contract import Provider
from agent_actor.journal import EventKind, JournalEvent, LiveState
from fleet.bench.chaos import cluster, evidence
from fleet.bench.chaos.evidence import Course, Money
from fleet.bench.waiting import until
from fleet.budget.account import Account
from fleet.crew import actor_name
from fleet.errors import BudgetUnavailable, StoreUnavailable
from fleet.local.crowd import Participant
from fleet.local.errors import LocalPartError
from fleet.local.told import Told
from fleet.records import SessionRecord

if TYPE_CHECKING:
    from fleet.bench.chaos.stage import Stage

SUMMARY_S = 20.0
STOPPED_S = 60.0
CLOSED_S = 120.0
"""More than the longest pause between two tries to close one (``fleet.steps``)."""
_PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """``post_s``: until the request was answered, with the agent in the room."""

    answer: Mapping[str, Any]
    at: float
    post_s: float


class Interview:
    """``mark`` is a phrase of its instructions that no other interview has: by it the simulators
    know it, and so do their invoices."""

    def __init__(
        self,
        stage: Stage,
        *,
        mark: str,
        provider: Provider,
        request: Mapping[str, Any],
        asked: Asked,
        participant: Participant,
    ) -> None:
        self._stage = stage
        self.mark = mark
        self.provider = provider
        self.request = request
        self.asked = asked
        self.participant = participant
        self.id = str(asked.answer["session_id"])
        self.room = str(asked.answer["room"])

    @property
    def phases(self) -> list[str]:
        """By the contract."""
        return [phase["id"] for phase in self.request["phases"]]

    @property
    def told(self) -> list[Told]:
        """By the participant, in order."""
        return self.participant.told

    async def record(self) -> SessionRecord:
        return await self._stage.registry.get(self.id)

    async def live(self) -> LiveState | None:
        return await self._stage.journal.live(self.id)

    async def journal(
        self, kind: EventKind | None = None, attempt: int | None = None
    ) -> list[JournalEvent]:
        found: list[JournalEvent] = []
        after: str | None = None
        while page := await self._stage.journal.read(self.id, after_id=after, limit=_PAGE):
            found += [entry.event for entry in page]
            after = page[-1].id
        return [e for e in found if kind in (None, e.kind) and attempt in (None, e.attempt)]

    async def actor(self) -> cluster.RayActor:
        """The one that has it now. Raises ActorMissing."""
        record = await self.record()
        return await cluster.find(actor_name(record.actor_id or ""))  # type: ignore[arg-type]

    async def kill_actor(self) -> float:
        """When, in epoch seconds."""
        return cluster.kill_process((await self.actor()).pid)

    async def carried_on(self, after: int, deadline_s: float) -> JournalEvent | None:
        """What the first attempt after ``after`` wrote that took up the interview: one that could
        not is followed by another. None: none has."""

        async def taken_up() -> JournalEvent | None:
            with suppress(StoreUnavailable):
                for event in await self.journal(EventKind.RECOVERY):
                    if event.attempt > after and "gap_s" in event.data:
                        return event
            return None

        return await until(taken_up, deadline_s)

    async def over(self, deadline_s: float) -> SessionRecord:
        """Its record, once it is gone; as it is at the deadline otherwise."""

        async def gone() -> SessionRecord | None:
            # The store may be what is struck.
            with suppress(StoreUnavailable):
                record = await self.record()
                return record if record.is_gone else None
            return None

        return await until(gone, deadline_s, poll_s=0.2) or await self.record()

    async def stop(self) -> None:
        """As an operator does, until it is accepted. One that is over is left so. Raises
        LocalPartError."""

        async def accepted() -> bool:
            # The ingress may be what is struck.
            with suppress(httpx.HTTPError):
                answer = await self._stage.http.delete(f"/v1/sessions/{self.id}")
                return not answer.is_server_error
            return False

        if not await until(accepted, STOPPED_S, poll_s=0.2):
            raise LocalPartError(f"{self.id} could not be ended within {STOPPED_S:g} s")

    async def summary(self) -> dict[str, Any]:
        """What the participant measured, once it is out of the room; what there is otherwise."""
        return await self.participant.summary(SUMMARY_S) or {}

    async def course(self, deadline_s: float) -> Course:
        """How it went. One that is not over by the deadline is ended then, and counts as not
        ended."""
        record = await self.over(deadline_s)
        if not record.is_gone:
            await self._stage.end_all([self])
        await self.summary()
        return Course(
            session_id=self.id,
            provider=self.provider,
            end_reason=record.end_reason,
            attempts=record.attempt,
            phases=[phase.phase_id for phase in record.phases],
            wanted=self.phases,
            disturbances=evidence.disturbances(self.told),
            waits_s=evidence.waits_s(self.told),
            unanswered=evidence.unanswered(self.told),
            money=await self.money() if record.is_gone else None,
        )

    async def money(self) -> Money:
        """After its end, with its account closed: later where the budget actor was away then."""
        account = await until(self._closed_account, CLOSED_S, poll_s=0.2)
        account = account or await self._account()
        reports = account.reports.values()
        lost = (r.at_risk_pico_usd for r in reports if not r.final)
        return Money(
            ledger_micro_usd=account.spent,
            invoice_pico_usd=await self._stage.invoiced_pico(self.provider, self.mark),
            untold_pico_usd=sum(lost) + sum(r.unpriced_pico_usd for r in reports),
        )

    async def _closed_account(self) -> Account | None:
        # The store may be what is struck.
        with suppress(BudgetUnavailable):
            account = await self._account()
            return None if account.closed_at is None else account
        return None

    async def _account(self) -> Account:
        [account] = await self._stage.ledger.accounts([self.id])  # type: ignore[list-item]
        return account
