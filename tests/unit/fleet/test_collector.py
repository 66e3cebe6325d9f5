"""Collections leave alone what has survived one, and now and then walk everything."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from fleet.collector import Collector


class Node:
    """One that is only freed by a collection."""

    def __init__(self) -> None:
        self.itself = self


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    collector = Collector(everything_every_s=60, now=clock)
    collector.install()
    yield clock
    collector.remove()


def walked(node: Node) -> bool:
    """Whether a full collection would look at it."""
    return any(each is node for each in gc.get_objects())


@pytest.mark.parametrize("generation", [1, 2])
def test_what_survived_is_not_walked_again(clock: Clock, generation: int) -> None:
    node = Node()
    assert walked(node)
    gc.collect(generation)
    assert not walked(node)


def test_a_collection_of_the_youngest_sets_nothing_aside(clock: Clock) -> None:
    node = Node()
    gc.collect(0)
    assert walked(node)


def test_new_garbage_is_collected_as_ever(clock: Clock) -> None:
    gone = weakref.ref(Node())
    gc.collect()
    assert gone() is None


def test_what_is_let_go_after_it_was_set_aside_is_freed_at_once(clock: Clock) -> None:
    class Plain:
        pass

    plain = Plain()
    gc.collect()
    gone = weakref.ref(plain)
    del plain
    assert gone() is None


def test_a_cycle_set_aside_waits_for_the_collection_of_everything(clock: Clock) -> None:
    node = Node()
    gc.collect()
    gone = weakref.ref(node)
    del node
    gc.collect()
    assert gone() is not None
    clock.now_s = 60
    gc.collect(1)
    assert gone() is not None
    gc.collect()
    assert gone() is None


def test_removed_it_leaves_nothing_set_aside() -> None:
    collector = Collector()
    collector.install()
    assert gc.get_freeze_count() > 0
    collector.remove()
    assert gc.get_freeze_count() == 0
