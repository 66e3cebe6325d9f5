"""The accounts in Redis, written before any allowance is answered.

One script writes a batch: every account's absolute state, and by the differences to what stood
there the sums of its study, of the fleet, and the minutes. So a write that is made twice (its
answer was lost) changes nothing. Two things are refused by the script itself:

* A writer whose epoch is not the newest. A budget actor takes a new epoch when it starts, so of
  two that exist for a moment (a restart, an upgrade) only the younger can grant.
* A state older than the one stored. A write that Redis read late must not undo a newer one.

What it holds is worth as much as Redis keeps: run it with ``appendonly yes`` and
``appendfsync always``.

    {ns}:budget:epoch                    the newest epoch
    {ns}:budget:session:<id>             hash: state (JSON), figures, providers, version
    {ns}:budget:study:<id>, …:fleet      hash: each of the figures, sessions:<provider>
    {ns}:budget:minutes:<scope>          hash: "<minute>:<provider>" → micro-dollars, for
                                         session:<id>, study:<id>, fleet
    {ns}:budget:open                     set of the ids of open accounts
    {ns}:budget:studies                  set of names
    {ns}:budget:sessions:<study>         zset of a study's sessions, all scores 0: read by ranges
    {ns}:budget:marks, …:marks:versions  hash: "study:<id>" or "fleet" → fractions reached (JSON)
    {ns}:budget:outbox                   hash: id → body of a notice that is to be delivered
    {ns}:budget:id                       random, so that ids of notices are this ledger's alone
    {ns}:budget:limits                   hash: "fleet" or "study:<id>" → micro-dollars or "none"
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from agent_actor.contract import SessionId
from fleet.budget import ledger_scripts as scripts
from fleet.budget.account import Account
from fleet.budget.accounts import Accounts
from fleet.budget.costs import Bucket
from fleet.budget.sums import Change, Figures, Sums
from fleet.budget.thresholds import Mark, MarkChange, Notice
from fleet.errors import BudgetUnavailable

EPOCH_SPAN = 10**9
"""Versions that one epoch may count: version = epoch * EPOCH_SPAN + write number."""
_LOAD_BATCH = 500
_FENCED = "FENCED"
_NO_MORE = "*"
_SESSIONS = "sessions:"


class BudgetFenced(BudgetUnavailable):
    """A younger budget actor has taken over; this one may not grant any more."""

    code = "budget_fenced"

    def __init__(self, epoch: int) -> None:
        super().__init__(f"epoch {epoch} is over, a younger budget actor grants now")
        self.epoch = epoch


@dataclass(frozen=True, kw_only=True)
class Durability:
    """How much of what Redis confirms survives its sudden death."""

    appendonly: bool | None
    appendfsync: str | None

    @property
    def full(self) -> bool:
        return bool(self.appendonly) and self.appendfsync == "always"


class Ledger:
    """Every method raises BudgetUnavailable when Redis does not answer; it may then have happened
    or not, and can be made again. Writing raises BudgetFenced once the epoch is over.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._prefix = f"{namespace}:budget:"
        self._write = redis.register_script(scripts.WRITE)
        self._set_limit = redis.register_script(scripts.SET_LIMIT)

    async def take_over(self) -> int:
        """Begin a new epoch. From now on nothing is written under an older one."""
        with available("take_over"):
            return int(await self._redis.incr(self._key("epoch")))

    async def write(
        self,
        epoch: int,
        number: int,
        changes: Sequence[Change],
        marks: Sequence[MarkChange] = (),
    ) -> None:
        """``number`` counts the writes of this epoch, from 1. A mark whose accounts are not
        written before or with it would tell of money that a crash takes back.
        """
        args: list[str | int] = [epoch, epoch * EPOCH_SPAN + number, " ".join(Figures._fields)]
        for c in changes:
            args += [c.session_id, c.study_id, c.state]
            args += [" ".join(map(str, c.figures)), " ".join(c.providers), len(c.minutes)]
            for bucket, micro in c.minutes.items():
                args += [_field(bucket), micro]
            args += _notices(c.notices)
        args.append(_NO_MORE)
        for m in marks:
            args += [m.scope, m.mark, *_notices(m.notices)]
        args.append(_NO_MORE)
        with available("write"):
            said = await self._write(keys=[self._prefix], args=args)
        self._check(said, epoch)

    async def set_limit(self, epoch: int, scope: str, micro_usd: int | None) -> None:
        """``scope``: "fleet" or "study:<id>"."""
        value = "none" if micro_usd is None else micro_usd
        with available("set_limit"):
            said = await self._set_limit(keys=[self._prefix], args=[epoch, scope, value])
        self._check(said, epoch)

    async def load(self, accounts: Accounts) -> None:
        """Fill empty ``accounts``: limits set at run time, all sums, and every open account."""
        with available("load"):
            await self._load_limits(accounts)
            await self._load_marks(accounts)
            accounts.fleet = await self._sums("fleet")
            for study in await self._names("studies"):
                accounts.studies[study] = await self._sums(f"study:{study}")
            ids = await self._names("open")
            for start in range(0, len(ids), _LOAD_BATCH):
                for account in await self._accounts(ids[start : start + _LOAD_BATCH]):
                    accounts.adopt(account)

    async def accounts(self, session_ids: Sequence[SessionId]) -> list[Account]:
        """Those of them that there are."""
        with available("accounts"):
            return await self._accounts(session_ids)

    async def sessions_of(self, study_id: str, after: str, limit: int) -> list[SessionId]:
        """Ids of a study's sessions, in order: those that come after ``after``. Each session is met
        once however the study grows meanwhile, unless a new one sorts before where we are.
        """
        start = f"({after}" if after else "-"
        with available("sessions_of"):
            found = await self._redis.zrangebylex(
                self._key(f"sessions:{study_id}"), start, "+", start=0, num=limit
            )
        return [SessionId(id_) for id_ in cast("list[str]", found)]

    async def outbox(self, limit: int) -> list[Notice]:
        """Not delivered yet, the oldest first; which ones, if there are more than ``limit``, is
        left open.
        """
        found: dict[str, str] = {}
        with available("outbox"):
            async for id_, body in self._redis.hscan_iter(self._key("outbox"), count=500):
                found[id_] = body
                if len(found) >= limit:
                    break
        notices = [Notice(id=id_, body=body) for id_, body in found.items()]
        return sorted(notices, key=lambda notice: notice.at)

    async def in_outbox(self, notice_id: str) -> bool:
        with available("in_outbox"):
            return bool(await self._redis.hexists(self._key("outbox"), notice_id))

    async def take_out(self, notice_id: str) -> None:
        """Delivered, or given up."""
        with available("take_out"):
            await self._redis.hdel(self._key("outbox"), notice_id)

    async def durability(self) -> Durability:
        """What the server says of itself; None where it does not tell."""
        try:
            said = await self._redis.config_get("append*")
        except RedisError:
            return Durability(appendonly=None, appendfsync=None)
        return Durability(
            appendonly=said.get("appendonly") == "yes", appendfsync=said.get("appendfsync")
        )

    async def aclose(self) -> None:
        await self._redis.aclose()

    # Inside

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _check(self, said: object, epoch: int) -> None:
        if said == _FENCED:
            raise BudgetFenced(epoch)

    async def _names(self, name: str) -> list[str]:
        return sorted(await cast("Awaitable[set[str]]", self._redis.smembers(self._key(name))))

    async def _load_limits(self, accounts: Accounts) -> None:
        stored = await cast("Awaitable[dict[str, str]]", self._redis.hgetall(self._key("limits")))
        for scope, value in stored.items():
            micro = None if value == "none" else int(value)
            if scope == "fleet":
                accounts.limits.fleet = micro
            else:
                accounts.limits.studies[scope.removeprefix("study:")] = micro

    async def _load_marks(self, accounts: Accounts) -> None:
        await self._redis.setnx(self._key("id"), secrets.token_hex(8))
        accounts.ledger_id = str(await self._redis.get(self._key("id")))
        stored = await cast("Awaitable[dict[str, str]]", self._redis.hgetall(self._key("marks")))
        accounts.marks = {scope: Mark.from_json(mark) for scope, mark in stored.items()}

    async def _sums(self, scope: str) -> Sums:
        stored = await cast("Awaitable[dict[str, str]]", self._redis.hgetall(self._key(scope)))
        minutes = await cast(
            "Awaitable[dict[str, str]]", self._redis.hgetall(self._key(f"minutes:{scope}"))
        )
        sums = Sums(figures=Figures(*(int(stored.get(name, 0)) for name in Figures._fields)))
        for bucket, micro in _minutes(minutes).items():
            sums.book(bucket, micro)
        for name, sessions in stored.items():
            if name.startswith(_SESSIONS):
                sums.used(name.removeprefix(_SESSIONS), int(sessions))
        return sums

    async def _accounts(self, ids: Sequence[str]) -> list[Account]:
        pipe = self._redis.pipeline(transaction=False)
        for id_ in ids:
            pipe.hget(self._key(f"session:{id_}"), "state")
            pipe.hgetall(self._key(f"minutes:session:{id_}"))
        found = await pipe.execute()
        return [
            Account.from_json(state, _minutes(minutes))
            for state, minutes in zip(found[::2], found[1::2], strict=True)
            if state is not None
        ]


def _notices(notices: Sequence[Notice]) -> list[str | int]:
    return [len(notices), *(part for n in notices for part in (n.id, n.body))]


def _field(bucket: Bucket) -> str:
    return f"{bucket.minute_epoch}:{bucket.provider}"


def _minutes(stored: Mapping[str, str]) -> dict[Bucket, int]:
    parts = ((field.partition(":"), int(micro)) for field, micro in stored.items())
    return {Bucket(int(minute), provider): micro for (minute, _, provider), micro in parts}


@contextmanager
def available(operation: str) -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise BudgetUnavailable(f"ledger, {operation}: {type(error).__name__}") from error
