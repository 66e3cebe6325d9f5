"""How session actors are to be started."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest

from agent_actor import forkserver
from agent_actor.contract import ActorId
from agent_actor.messages import WarmReport
from fleet import forked, ray_calls
from fleet.control import roster_config
from fleet.crew import ActorSpec, RayCrew
from fleet.errors import ActorLost
from fleet.ray_calls import ActorOptions
from fleet.roster_model import NodeId
from fleet.settings import load_settings

KEYS = {"livekit_api_key": "k", "livekit_api_secret": "s"}


@pytest.mark.skipif(not forkserver.available(), reason="needs Linux")
def test_session_actors_are_forked_unless_told_otherwise() -> None:
    spec = roster_config(load_settings(**KEYS)).actor
    command = spec.worker_env()["py_executable"]
    assert command.startswith(f"{sys.executable} -I -S ")
    assert "--preload=fleet.actor_shell,agent_actor.actor,fleet.budget.actor" in command
    assert (
        "py_executable"
        not in roster_config(load_settings(fork_server="off", **KEYS)).actor.worker_env()
    )


@pytest.mark.skipif(not forkserver.available(), reason="needs Linux")
def test_control_actors_come_from_the_same_server_and_do_not_give_way() -> None:
    env = forked.control_env(fork_server=True)
    assert env["py_executable"] == ActorSpec(fork_server=True).worker_env()["py_executable"]
    assert env["env_vars"] == {"FLEET_WARM_NICE": "0"}
    assert forked.control_env(fork_server=False) == {}


def test_elsewhere_they_start_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert ActorSpec(fork_server=True).worker_env() == {}


def test_where_nodes_follow_demand_no_actor_goes_to_one_without_slots() -> None:
    """Also before the first node that has some is there."""
    assert roster_config(load_settings(autoscale=True, **KEYS)).actor.needs_slot
    assert not roster_config(load_settings(**KEYS)).actor.needs_slot


def test_an_executable_that_was_asked_for_is_kept() -> None:
    asked = {"py_executable": "my-python", "env_vars": {"A": "1"}}
    assert ActorSpec(fork_server=True, runtime_env=asked).worker_env() == asked


class SlowHead:
    """Stands in for Ray while an actor is made: a head that is away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.back = threading.Event(), threading.Event()
        self.killed: list[object] = []
        monkeypatch.setattr(ray_calls, "has_resource", lambda _: True)
        monkeypatch.setattr(ray_calls, "create", self._create)
        monkeypatch.setattr(ray_calls, "kill", self.killed.append)

    def _create(self, *_: object) -> Handle:
        self.asked.set()
        assert self.back.wait(10)
        return Handle()

    async def is_asked(self) -> None:
        await asyncio.to_thread(self.asked.wait, 10)


class Handle:
    @property
    def warm(self) -> Handle:
        return self

    async def remote(self) -> WarmReport:
        return WARM


WARM = WarmReport(actor_id=ActorId("a-1"), pid=1, node_id="n", warm_s=0.1)


async def test_a_head_that_is_away_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    head = SlowHead(monkeypatch)
    starting = asyncio.create_task(RayCrew(ActorSpec(), "t").start(ActorId("a-1")))
    # The loop runs on, or this would never return.
    await head.is_asked()
    assert not starting.done()
    head.back.set()
    assert await starting == WARM


async def test_an_actor_given_up_while_it_was_made_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head, crew = SlowHead(monkeypatch), RayCrew(ActorSpec(), "t")
    starting = asyncio.create_task(crew.start(ActorId("a-1")))
    await head.is_asked()
    crew.kill(ActorId("a-1"))
    assert head.killed == []
    head.back.set()
    with pytest.raises(ActorLost):
        await starting
    assert len(head.killed) == 1


async def test_actors_are_spread_so_that_a_lost_node_leaves_warm_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[dict[str, Any]] = []

    def create(_: object, options: ActorOptions, *__: object) -> Handle:
        made.append(options.as_kwargs())
        return Handle()

    monkeypatch.setattr(ray_calls, "has_resource", lambda _: True)
    monkeypatch.setattr(ray_calls, "create", create)
    crew = RayCrew(ActorSpec(), "t")
    await crew.start(ActorId("a-1"))
    await crew.start(ActorId("a-2"), not_on=[NodeId("n-1")])
    # The scaler says itself where: it fills nodes, so that others empty.
    await crew.start(ActorId("a-3"), on=NodeId("ab" * 28))
    anywhere, elsewhere, there = made
    assert anywhere["scheduling_strategy"] == elsewhere["scheduling_strategy"] == "SPREAD"
    assert elsewhere["label_selector"] == {"ray.io/node-id": "!in(n-1)"}
    assert there["scheduling_strategy"].node_id == "ab" * 28
