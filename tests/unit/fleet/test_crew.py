"""How session actors are to be started."""

from __future__ import annotations

import sys

import pytest

from agent_actor import forkserver
from fleet import forked
from fleet.control import roster_config
from fleet.crew import ActorSpec
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
