"""Every call to Ray, and every error of Ray's turned into one of ours.

Names are looked up in ``namespace`` explicitly: a Serve replica lives in another one. Errors
raised here are ControlPlaneUnavailable: ActorLost, ActorMissing or NoAnswer where it is known.
An error that the called method raised itself comes through as it was raised.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import ray
import ray.actor
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fleet.errors import ActorLost, ActorMissing, ControlPlaneUnavailable, NoAnswer

SLOT_RESOURCE = "session_slot"
"""A custom resource of Ray nodes, one for each session that a node may carry."""

NODE_ID_LABEL = "ray.io/node-id"
"""Ray's own, on every node."""


@dataclass(frozen=True, kw_only=True)
class ActorOptions:
    """How an actor is created. All of ours are detached: they outlive whoever made them."""

    name: str
    namespace: str
    num_cpus: float = 0.0
    max_restarts: int = 0
    max_task_retries: int = 0
    max_concurrency: int = 1000
    resources: dict[str, float] = field(default_factory=dict)
    runtime_env: dict[str, Any] = field(default_factory=dict)
    node_id: str | None = None
    """On this node and no other; None: wherever there is room."""
    not_on: tuple[str, ...] = ()
    """On none of these nodes."""
    spread: bool = False
    """Over the nodes, rather than filling one after the other."""

    def as_kwargs(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "namespace": self.namespace,
            "lifetime": "detached",
            "num_cpus": self.num_cpus,
            "max_restarts": self.max_restarts,
            "max_task_retries": self.max_task_retries,
            "max_concurrency": self.max_concurrency,
            "resources": self.resources,
            **({"runtime_env": self.runtime_env} if self.runtime_env else {}),
            **({"scheduling_strategy": "SPREAD"} if self.spread else {}),
            **({"scheduling_strategy": _only_on(self.node_id)} if self.node_id else {}),
            **({"label_selector": _none_of(self.not_on)} if self.not_on else {}),
        }


def _only_on(node_id: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def _none_of(node_ids: tuple[str, ...]) -> dict[str, str]:
    return {NODE_ID_LABEL: f"!in({','.join(node_ids)})"}


def is_connected() -> bool:
    return bool(ray.is_initialized())


def load_class(path: str) -> type[Any]:
    """ "package.module:Class" → the class. Raises ImportError, AttributeError."""
    module, _, name = path.partition(":")
    return cast(type[Any], getattr(importlib.import_module(module), name))


def create(cls: type[Any], options: ActorOptions, *args: Any, **kwargs: Any) -> Any:
    """A new actor's handle; construction goes on in the background. Raises ValueError if the
    name is taken."""
    return _remote_class(cls).options(**options.as_kwargs()).remote(*args, **kwargs)


_MAKING = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ray-actors")


async def made(make: Callable[[], Any], *, part: str, deadline_s: float) -> Any:
    """What ``make`` returns, which creates an actor, without holding up the loop: Ray has the head
    write a named one down first, and waits for a head that is away. Given up at the deadline it may
    be made all the same. Raises ControlPlaneUnavailable, and what ``create`` raises."""
    making = asyncio.get_running_loop().run_in_executor(_MAKING, make)
    return await answer(making, part=part, deadline_s=deadline_s)


_remote_classes: dict[type[Any], Any] = {}


def _remote_class(cls: type[Any]) -> Any:
    """One for each class: a new one is pickled, taken apart and exported for each actor. Ray
    exports it anew to another cluster by itself."""
    if cls not in _remote_classes:
        _remote_classes[cls] = ray.remote(cls)
    return _remote_classes[cls]


def get_or_create(cls: type[Any], options: ActorOptions, *args: Any, **kwargs: Any) -> Any:
    """The actor by that name, made now if there was none. Safe against others doing the same."""
    remote = ray.remote(cls).options(get_if_exists=True, **options.as_kwargs())
    return remote.remote(*args, **kwargs)


def find(name: str, namespace: str) -> Any:
    """The handle of a living named actor. Raises ActorMissing, and ControlPlaneUnavailable where
    the head does not answer."""
    try:
        return ray.get_actor(name, namespace=namespace)
    except ValueError:
        raise ActorMissing(name) from None
    except RayError as error:
        raise _translated(error, name) from error


def exists(name: str, namespace: str) -> bool:
    try:
        find(name, namespace)
    except ActorMissing:
        return False
    return True


def names(namespace: str, prefix: str = "") -> list[str]:
    """Named actors that are alive, being made or being restarted. Raises ControlPlaneUnavailable
    where the head does not answer."""
    try:
        everywhere = ray.util.list_named_actors(all_namespaces=True)
    except RayError as error:
        raise _translated(error, "ray") from error
    return sorted(
        actor["name"]
        for actor in everywhere
        if actor["namespace"] == namespace and actor["name"].startswith(prefix)
    )


_LOOKING = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ray-names")
"""One thread: while the head is away each look would wait in another one."""


async def names_soon(namespace: str, prefix: str, *, deadline_s: float) -> list[str]:
    """``names``, without holding up the loop meanwhile. Raises ControlPlaneUnavailable."""
    looking = asyncio.get_running_loop().run_in_executor(_LOOKING, names, namespace, prefix)
    return cast(list[str], await answer(looking, part="ray", deadline_s=deadline_s))


@dataclass(frozen=True, kw_only=True)
class RayNode:
    """One that is alive. ``slots``: sessions that it may carry; 0 where it says nothing of them."""

    node_id: str
    address: str
    host: str
    slots: int = 0


async def nodes_soon(*, deadline_s: float) -> list[RayNode]:
    """Without holding up the loop. Raises ControlPlaneUnavailable. For about 20 s after the head
    was lost its old node may still be among them."""
    looking = asyncio.get_running_loop().run_in_executor(_LOOKING, _nodes)
    return cast(list[RayNode], await answer(looking, part="ray", deadline_s=deadline_s))


def _nodes() -> list[RayNode]:
    return [
        RayNode(
            node_id=node["NodeID"],
            address=node["NodeManagerAddress"],
            host=node["NodeManagerHostname"],
            slots=int(node["Resources"].get(SLOT_RESOURCE, 0)),
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


async def ask_for_nodes(
    keep: Sequence[str], more: int, slots: int, *, without: Collection[str], deadline_s: float
) -> None:
    """Tells Ray's autoscaler which nodes are to stay and how many more are wanted, in place of
    what it was told before. Others go when nothing has been on them for its idle timeout; one with
    an actor never does. ``without``: nodes that are there and count for none of them. Raises
    ControlPlaneUnavailable.
    """
    asking = asyncio.get_running_loop().run_in_executor(
        _LOOKING, _request_resources, *bundles_for(keep, more, slots, without)
    )
    await answer(asking, part="ray", deadline_s=deadline_s)


def bundles_for(
    keep: Sequence[str], more: int, slots: int, without: Collection[str] = ()
) -> tuple[list[dict[str, float]], list[dict[str, str]]]:
    """As ``request_resources`` takes them: bundles, and a label selector for each. Nodes to stay
    are named: looking for those that fit it does not care which are empty, and might keep these
    in their place. Each of the others is asked for as all its ``slots``. Where some are not to
    count it may be none that is there: one that drains has all its slots, and would be taken for
    its own replacement, or then one that is to stay for that."""
    bundles = [{SLOT_RESOURCE: 1.0} for _ in keep] + [{SLOT_RESOURCE: float(slots)}] * more
    there = ",".join(sorted({*keep, *without}))
    other = {NODE_ID_LABEL: f"!in({there})"} if without else {}
    selectors = [{NODE_ID_LABEL: node} for node in keep] + [dict(other) for _ in range(more)]
    return bundles, selectors


def _request_resources(bundles: list[dict[str, float]], selectors: list[dict[str, str]]) -> None:
    from ray.autoscaler.sdk import request_resources  # only whoever scales needs it

    try:
        request_resources(bundles=bundles, bundle_label_selectors=selectors)
    except (RuntimeError, OSError) as error:  # Ray's own, of its calls to the head
        raise ControlPlaneUnavailable("ray", str(error)) from error


def kill(handle: Any) -> None:
    """At once, whatever it is doing, and for good. One that is dead already is left so."""
    ray.kill(handle, no_restart=True)


def kill_named(name: str, namespace: str) -> bool:
    """False if there was none."""
    try:
        kill(find(name, namespace))
    except ActorMissing:
        return False
    return True


def myself() -> Any:
    """The handle of the actor this is called in."""
    return ray.get_runtime_context().current_actor


def node_id() -> str:
    return str(ray.get_runtime_context().get_node_id())


def has_resource(name: str) -> bool:
    """Whether any living node has it, used or not."""
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return bool(resources.get(name))


async def answer(ref: Awaitable[Any], *, part: str, deadline_s: float | None = None) -> Any:
    """Await what an actor was asked. ``part`` names it in errors; None waits for ever."""
    try:
        async with asyncio.timeout(deadline_s):
            return await ref
    except TimeoutError as error:
        if isinstance(error, RayError):
            raise _translated(error, part) from error
        raise NoAnswer(part, deadline_s or 0.0) from None
    except RayError as error:
        raise _translated(error, part) from error


def _translated(error: RayError, part: str) -> Exception:
    if isinstance(error, RayTaskError):
        # The awaited error is a class made up by Ray that fits both; ours pickles, that doesn't.
        cause = error.cause
        return cause if isinstance(cause, Exception) else ControlPlaneUnavailable(part, str(cause))
    if isinstance(error, ActorUnavailableError):
        return ControlPlaneUnavailable(part, "not reachable at the moment")
    if isinstance(error, RayActorError | OutOfMemoryError | NodeDiedError):
        return ActorLost(part, _loss(error))
    return ControlPlaneUnavailable(part, f"{type(error).__name__}: {_first_line(error)}")


def _loss(error: RayError) -> str:
    kind = "" if type(error) is ActorDiedError else f"{type(error).__name__}: "
    return kind + _first_line(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


class RemoteActor:
    """A named actor as its callers see it: found when first needed, found again after a loss.

    For actors that restart (``max_restarts=-1``) and may also be killed and made anew.
    """

    def __init__(self, name: str, namespace: str) -> None:
        self.name = name
        self._namespace = namespace
        self._handle: Any = None

    def handle(self) -> Any:
        """Raises ActorMissing."""
        if self._handle is None:
            self._handle = find(self.name, self._namespace)
        return self._handle

    async def call(self, method: str, *args: Any, deadline_s: float, **kwargs: Any) -> Any:
        ref = getattr(self.handle(), method).remote(*args, **kwargs)
        try:
            return await answer(ref, part=self.name, deadline_s=deadline_s)
        except ActorLost:
            self._handle = None
            raise
