"""Two clusters on one registry and one ledger, as for the length of an upgrade: two control planes,
each in a Ray namespace of its own.
"""

from __future__ import annotations

import itertools

from agent_actor.contract import EndReason, SessionId, SessionState, StudyId
from agent_actor.messages import Allowance
from agent_actor.redis_client import open_redis
from fleet.errors import BudgetUnavailable
from fleet.local.livekit import LiveKitAccess
from fleet.local.ray_cluster import RayCluster
from fleet.settings import FleetSettings
from tests.integration.scripted_actor import SPENT_PICO_USD
from tests.integration.test_control_plane import Fleet, own_fleet, settings_for, until

SPENT_MICRO_USD = -(-SPENT_PICO_USD // 1_000_000)


async def allowed(fleet: Fleet, session_id: str) -> Allowance | None:
    """What this cluster's budget actor answers for a new account; None: it cannot just now."""
    try:
        return await fleet.plane.budget.open(
            SessionId(session_id), StudyId("study-7"), "openai_realtime", 10_000_000
        )
    except BudgetUnavailable:
        return None


async def beats(settings: FleetSettings) -> int:
    async with open_redis(settings.redis_url) as redis:
        key = f"{settings.redis_namespace}:clusters"
        return int(await redis.execute_command("HGET", key, settings.cluster) or 0)


async def test_the_new_cluster_takes_new_sessions_and_leaves_the_old_one_its_own(
    ray_cluster: RayCluster, redis_server: str, livekit_server: LiveKitAccess
) -> None:
    old = settings_for(redis_server, livekit_server, cluster="old", warm_actors=1, reap_every_s=0.5)
    new = old.model_copy(update={"cluster": "new", "ray_namespace": f"{old.ray_namespace}-new"})
    async with own_fleet(old) as before:
        await before.warm()
        held = (await before.dispatch()).record
        async with own_fleet(new) as after:
            await after.warm()
            taken = (await after.dispatch()).record

            # The new one's reaper looks every half a second, its watch every five.
            async def has_looked() -> bool:
                return await beats(new) >= 3

            await until(has_looked)
            sessions = (await after.plane.supervisor.snapshot()).sessions
            assert [s.session_id for s in sessions] == [taken.session_id]
            record = await before.registry.get(held.session_id)
            assert (record.state, record.attempt) == (SessionState.JOINED, 1)
            assert record.cluster == "old"

            # One ledger: the younger budget actor grants, to the old cluster's sessions too.
            given, own = await allowed(before, "s-one"), await allowed(after, "s-two")
            assert given is not None
            assert own is not None
            assert given.epoch == own.epoch

            # Asked for at the new one, as its API is the only one that is reached now.
            await after.dispatcher.stop(held.session_id)

            async def is_gone() -> bool:
                return (await after.registry.get(held.session_id)).is_gone

            await until(is_gone)
            ended = await after.registry.get(held.session_id)
            assert ended.end_reason is EndReason.OPERATOR
            cost = await after.cost(held.session_id)
            assert cost.closed
            assert cost.spent_micro_usd == ended.spent_micro_usd == SPENT_MICRO_USD
            await after.end(taken.session_id)

        # The upgrade is taken back: the old one has the ledger again.
        # A last call may still be answered by the new one.
        numbers = itertools.count()

        async def granted_by_the_old() -> bool:
            allowance = await allowed(before, f"s-again-{next(numbers)}")
            return allowance is not None and allowance.epoch > given.epoch

        await until(granted_by_the_old, within_s=40, poll_s=0.5)
