"""Where actors go, so that nodes empty: the fullest first. Pure.

A session cannot be moved, so a node becomes free only when its last one ends. New sessions go to
the nodes that will be there anyway, warm actors that wait make room on those that may go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Load(Protocol):
    """What a node carries. ``busy``: actors with a session, or promised to one. ``idle``: warm ones
    and those that start. ``free``: slots that nothing takes."""

    @property
    def node_id(self) -> str: ...
    @property
    def busy(self) -> int: ...
    @property
    def idle(self) -> int: ...
    @property
    def free(self) -> int: ...


N = TypeVar("N", bound=Load)


@dataclass(frozen=True, kw_only=True)
class NodeLoad:
    """A ``Load`` as a value."""

    node_id: str
    slots: int
    busy: int = 0
    idle: int = 0

    @property
    def free(self) -> int:
        return max(0, self.slots - self.busy - self.idle)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """``keep``: nodes that take actors, fullest first. ``leave``: nodes to be left empty; none of
    them has a session."""

    keep: tuple[str, ...] = ()
    leave: frozenset[str] = frozenset()


def fullness(node: Load) -> tuple[int, int, str]:
    """Greater: fuller. The name decides between equals, so that it is always the same one."""
    return node.busy, node.idle, node.node_id


def lay_out(nodes: Iterable[Load], wanted: int) -> Layout:
    """``wanted`` nodes, the fullest, and however many more have a session."""
    ordered = sorted(nodes, key=fullness, reverse=True)
    keep = max(wanted, sum(node.busy > 0 for node in ordered))
    return Layout(
        keep=tuple(node.node_id for node in ordered[:keep]),
        leave=frozenset(node.node_id for node in ordered[keep:]),
    )


def place(nodes: Iterable[N], leave: frozenset[str]) -> N | None:
    """For a new actor: the fullest node with a free slot, one that is to be left only if there is
    no other. None: every slot is taken."""
    free = (node for node in nodes if node.free)
    return max(free, key=lambda node: (node.node_id not in leave, fullness(node)), default=None)


def to_give(nodes: Iterable[N]) -> N | None:
    """Of the nodes with a warm actor, the one whose actor the next session gets. None: no node."""
    return max(nodes, key=fullness, default=None)


def to_thin(nodes: Iterable[N], leave: frozenset[str]) -> N | None:
    """Of the nodes with a warm actor, the one whose actor is ended first: one that is to be left,
    then the emptiest. None: no node."""
    return min(nodes, key=lambda node: (node.node_id not in leave, fullness(node)), default=None)
