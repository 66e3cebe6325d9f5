"""An interview whose node is drained: it goes on, on another node, in the same room, and what both
actors were billed is in the ledger to the last. Real Ray nodes, Redis, LiveKit and WebRTC.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from agent_actor.contract import EndReason
from agent_actor.journal import EventKind
from agent_actor.redis_client import open_redis
from fleet.drain_book import DrainBook
from fleet.draining import WHOLE_FLEET, Drain
from fleet.errors import RegistryUnavailable
from fleet.local.livekit import LiveKitAccess
from fleet.local.ray_cluster import RayCluster
from fleet.local.ray_nodes import NodeSettings, ray_node
from fleet.local.run_dir import RunDir
from fleet.local.simulators import Simulator
from fleet.nodes import NodeDesk, NodeState
from fleet.ray_calls import SLOT_RESOURCE
from fleet.roster_model import NodeId
from tests.integration.interviews import invoice_pico, set_script
from tests.integration.test_control_plane import Fleet, own_fleet, until
from tests.integration.test_recovery import (
    INSTRUCTIONS,
    PICO_PER_MICRO,
    Subject,
    actor_of,
    assert_money_holds,
    assert_undisturbed,
    interview,
    settings_of,
)

log = structlog.get_logger(__name__)


@pytest.fixture
def two_nodes(run: RunDir, ray_cluster: RayCluster) -> Iterator[None]:
    """The only ones with places for session actors."""
    settings = NodeSettings(resources={SLOT_RESOURCE: 4})
    with (
        ray_node(run, ray_cluster.address, settings),
        ray_node(run, ray_cluster.address, settings),
    ):
        yield


@pytest.mark.timeout(240)
async def test_a_drained_nodes_interview_goes_on_elsewhere(
    two_nodes: None,
    ray_cluster: RayCluster,
    shared_redis: str,
    livekit_server: LiveKitAccess,
    openai_simulator: Simulator,
) -> None:
    settings = settings_of(shared_redis, livekit_server)
    actor = replace(actor_of(settings, openai_simulator), fork_server=True)
    async with own_fleet(settings, actor) as fleet:
        # Long enough for a successor to be started meanwhile.
        await set_script(openai_simulator, INSTRUCTIONS, turns_per_phase=5, speech_s=[2.0, 3.0])
        await fleet.warm()
        async with interview(fleet) as (subject, talking):
            await subject.live(phase_id="warmup", speaking="interviewer")
            home = await node_of(fleet, subject)
            desk = NodeDesk(fleet.plane.roster, fleet.plane.supervisor)
            asked_at = time.time()
            await desk.drain(home, 0.0)
            await until(lambda: handed_over(subject), within_s=90)
            await subject.live(handed_over=False)
            assert await node_of(fleet, subject) != home

            async def empty() -> bool:
                found = {node.node_id: node.state for node in (await desk.look()).nodes}
                return found[home] is NodeState.DRAINED

            await until(empty, within_s=30)
            summary = await asyncio.wait_for(talking, 90)
            record = await fleet.gone(subject.id, within_s=30)
            assert (record.end_reason, record.attempt) == (EndReason.COMPLETED, 2)
            assert_undisturbed(summary, subject)
            left, found, *_ = await subject.written(EventKind.RECOVERY)
            log.info("measured", left=left.data, found=found.data, waited_s=left.at - asked_at)
            assert left.data["resumption"] == found.data["resumption"] == "listen"
            assert found.data["gap_s"] < 4.0
            assert [p.phase_id for p in record.phases] == ["warmup", "core"]
            await assert_money_holds(subject, openai_simulator)
            # No bound was charged for what was lost, as nothing was: each attempt is rounded up.
            sessions = [s for n in (1, 2) for s in await subject.provider_sessions(n)]
            beyond = (await fleet.cost(subject.id)).spent_micro_usd * PICO_PER_MICRO
            beyond -= await invoice_pico(openai_simulator, tuple(sessions))
            assert 0 <= beyond < 2 * PICO_PER_MICRO
            await fleet.assert_given_back(record)


async def test_drains_outlive_whoever_wrote_them(shared_redis: str) -> None:
    namespace, drain = f"t-{secrets.token_hex(4)}", Drain(since=1.5, deadline=61.5)
    async with open_redis(shared_redis) as one, open_redis(shared_redis) as another:
        book, later = DrainBook(one, namespace), DrainBook(another, namespace)
        assert await book.all() == {}
        await book.put(NodeId("n1"), drain)
        await book.put(WHOLE_FLEET, replace(drain, deadline=90.0))
        assert await later.all() == {"n1": drain, WHOLE_FLEET: replace(drain, deadline=90.0)}
        await later.drop(WHOLE_FLEET)
        await later.drop(WHOLE_FLEET)
        assert await book.all() == {"n1": drain}
    async with open_redis("redis://127.0.0.1:1") as nowhere:
        with pytest.raises(RegistryUnavailable):
            await DrainBook(nowhere, namespace).put(NodeId("n1"), drain)


async def node_of(fleet: Fleet, subject: Subject) -> str:
    pool = await fleet.plane.roster.snapshot()
    record = await fleet.registry.get(subject.id)
    assert record.actor_id is not None
    return pool.nodes[record.actor_id]


async def handed_over(subject: Subject) -> bool:
    return bool(await subject.written(EventKind.RECOVERY, 2))
