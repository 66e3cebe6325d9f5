"""Who is warm, reserved, live, starting or dying, and which session holds a permit for whom.

Pure: every method takes ``now`` (seconds of any steady clock), changes the books at once and
returns what is left to do as commands. Whoever owns the roster executes them in order.

* A **permit** is held for every admitted session, from before it is accepted until it is over.
  It takes a **slot** from when it is first given an actor until it is released; there are never
  more than ``max_sessions`` of these.
* An actor serves one session. Once a session has begun on it, it is never handed out again.
* A session that finds no slot or no warm actor waits its turn, if the estimate says that it comes
  before its deadline and the queue is not full: first come, first served. Sessions that lost an
  actor keep their slot and go before those that had none yet.
* A reservation that nobody begins within its lease is taken back; the actor, unused, is warm
  again. Beginning it afterwards is refused, so the actor is never given away twice.
* A session may be **admitted** first: it takes a free slot at once, or is turned away, and asks for
  its actor later. Its slot is free again if it does not in time.
* A node that is draining keeps its live actors and loses the others; none is started there. A
  session that is to leave it has a **successor** set aside, before all who wait, and keeps its own
  actor until it is reassigned.

Every operation on a session may be repeated without doing more than once would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import replace

from agent_actor.contract import ActorId, SessionId
from autoscaler.policy import PoolCounts, decide
from fleet.forecast import Forecast
from fleet.placement import Placement
from fleet.roster_actors import Actor, ActorBook
from fleet.roster_model import (
    ActorState,
    ActorView,
    Answer,
    Arrangement,
    Command,
    Grant,
    KillActor,
    NodeId,
    RosterLimits,
    RosterSnapshot,
    StartActor,
    TurnAway,
    Wait,
    Why,
)
from fleet.roster_permits import Permit, PermitBook

_HOLDABLE = (ActorState.RESERVED, ActorState.LIVE)


class Roster:
    """``prefix`` makes this roster's actor ids its own: two rosters must never share one."""

    def __init__(self, limits: RosterLimits, *, prefix: str) -> None:
        self._limits = limits
        self._prefix = prefix
        self._actors = ActorBook()
        self._permits = PermitBook()
        self._queue: list[SessionId] = []
        self._movers: list[SessionId] = []
        """They wait for a successor, while their own actor goes on."""
        self._draining_nodes: frozenset[NodeId] = frozenset()
        self._placement = Placement()
        self._counted: Counter[str] = Counter()
        self._turned_away: Counter[str] = Counter()
        self._forecast = Forecast(warm_s=limits.expected_warm_s, lanes=limits.max_starting)
        self._failed_in_row = 0
        self._next_start_at: float | None = None
        self._held_since: float | None = None
        self._refill_at: float | None = None
        self._draining = False
        self._last_number = 0

    # Sessions

    def admit(self, session_id: SessionId, now: float, within_s: float) -> TurnAway | None:
        """A slot at once for a session that will ``reserve`` within ``within_s``; None: it has
        one. It never waits: what is not free now may be free elsewhere."""
        held = self._permits.get(session_id)
        if held is not None:
            held.until = now + within_s if held.admitted else held.until
            return None
        if self._draining:
            return self._turn_away(session_id, Why.DRAINING, None)
        place = len(self._queue)
        if self._slots_missing(place) > 0:
            return self._turn_away(session_id, Why.SLOTS, self._estimate_s(place, now))
        self._permits.put(
            Permit(session_id=session_id, until=now + within_s, holds_slot=True, admitted=True)
        )
        return None

    def reserve(self, session_id: SessionId, now: float, wait_s: float) -> Answer:
        """A permit and, if one is warm, an actor. ``wait_s`` is how long the session may wait."""
        held = self._permits.get(session_id)
        if held is not None and held.admitted:
            return self._reserve_admitted(session_id, now, wait_s)
        if held is not None:
            if held.actor_id is None and held.holds_slot:
                # It was given one that is dead: its reservation's end is not that of its waiting.
                held.until = max(held.until, now + wait_s)
            return self._answer_again(held)
        if self._draining:
            return self._turn_away(session_id, Why.DRAINING, None)
        actor = self._first_warm()
        if actor is not None and not self._queue and self._free_slots() > 0:
            return self._give(Permit(session_id=session_id, until=0.0), actor, now)
        if len(self._queue) >= self._limits.queue_limit:
            return self._turn_away(session_id, Why.QUEUE, self._estimate_s(len(self._queue), now))
        return self._enqueue(Permit(session_id=session_id, until=now + wait_s), now, wait_s)

    def reassign(self, session_id: SessionId, now: float, wait_s: float) -> list[Command | Wait]:
        """Another actor for a session whose own failed. Its permit stays, its actor goes.

        A session without a permit (a restarted roster knows none) is treated as a new one.
        """
        held = self._permits.pop(session_id)
        if held is None:
            return [self.reserve(session_id, now, wait_s)]
        if held.actor_id is None:
            self._permits.put(held)
            return [self.reserve(session_id, now, wait_s)]
        commands: list[Command | Wait] = [*self._dismiss(held.actor_id, now)]
        again = Permit(session_id=session_id, until=now + wait_s, holds_slot=True)
        successor = self._actors.get(held.successor_id)
        self._movers = [s for s in self._movers if s != session_id]
        actor = successor or self._first_warm()
        if actor is not None:
            return [*commands, self._give(again, actor, now)]
        answer = self._enqueue(again, now, wait_s)
        if isinstance(answer, TurnAway):
            # Its slot is free for whoever waits.
            return [*commands, answer, *self._serve_queue(now)]
        return [*commands, answer]

    def begin(self, session_id: SessionId, now: float) -> ActorId | None:
        """The session takes its actor: from now on the actor is its own. None: no such
        reservation (any more), nothing may be run on the actor."""
        held = self._permits.get(session_id)
        actor = self._actors.get(held.actor_id) if held else None
        if held is None or actor is None or actor.state not in _HOLDABLE:
            return None
        self._actors.move(actor, ActorState.LIVE, now)
        self._permits.begin(held, now)
        return actor.actor_id

    def release(self, session_id: SessionId, now: float) -> list[Command]:
        """The session is over, or was never begun: its permit is free.

        An actor that it began on goes; one that it only reserved is warm again.
        """
        held = self._permits.pop(session_id)
        if held is None:
            return []
        if held.admitted:
            return self._serve_queue(now)
        if held.actor_id is None:
            self._queue.remove(session_id)
            answer = self._turn_away(session_id, Why.GIVEN_UP, 0.0)
            return [answer, *self._serve_queue(now)]
        if held.began_at is not None:
            self._forecast.ended(now - held.began_at)
        return [*self._give_back(held, now), *self._let_go(held.actor_id, now)]

    def prepare_move(self, session_id: SessionId, now: float) -> bool:
        """Whether another actor is set aside for this live session, to be had by ``reassign``. If
        not, the next one that gets warm is: ask again. A session that has not begun has none."""
        held = self._permits.get(session_id)
        if held is None or self._permits.is_pending(session_id):
            return False
        if held.successor_id is None and session_id not in self._movers:
            self._movers.append(session_id)
            self._serve_movers(now)
        return held.successor_id is not None

    def _give_back(self, held: Permit, now: float) -> list[Command]:
        """It is not to be moved (any more)."""
        self._movers = [s for s in self._movers if s != held.session_id]
        successor = self._actors.get(held.successor_id)
        self._permits.set_successor(held, None)
        return [] if successor is None else self._make_warm(successor, now)

    def _let_go(self, actor_id: ActorId, now: float) -> list[Command]:
        actor = self._actors.get(actor_id)
        if actor is not None and actor.state is ActorState.RESERVED:
            return self._make_warm(actor, now)
        return [*self._dismiss(actor_id, now), *self._serve_queue(now)]

    # Actors

    def actor_warm(
        self, actor_id: ActorId, now: float, node_id: NodeId | None = None
    ) -> list[Command]:
        """A starting actor is ready: for the session that has waited longest, or for the pool."""
        actor = self._actors.get(actor_id)
        if actor is None or actor.state is not ActorState.STARTING:
            return []
        self._actors.put_on(actor, node_id)
        self._forecast.started(now - actor.since)
        self._failed_in_row, self._next_start_at = 0, None
        return self._make_warm(actor, now)

    def start_failed(self, actor_id: ActorId, now: float) -> list[Command]:
        """A starting actor failed or took too long. The next start waits a while."""
        actor = self._actors.get(actor_id)
        if actor is None or actor.state is not ActorState.STARTING:
            return []
        self._counted["start_failures"] += 1
        pause_s = self._limits.start_backoff_s * 2 ** min(self._failed_in_row, 16)
        self._next_start_at = now + min(pause_s, self._limits.max_start_backoff_s)
        self._failed_in_row += 1
        return self._dismiss(actor_id, now)

    def actor_lost(self, actor_id: ActorId, now: float) -> list[Command]:
        """Someone found this actor dead. A session that only reserved it is given another;
        one that had begun keeps its permit, for its supervisor to reassign or release."""
        actor = self._actors.get(actor_id)
        if actor is None or actor.state is ActorState.DYING:
            return []
        if actor.state is ActorState.STARTING:
            return self.start_failed(actor_id, now)
        self._counted["lost"] += 1
        session_id, state = actor.session_id, actor.state
        commands: list[Command] = self._dismiss(actor_id, now)
        if state is not ActorState.RESERVED or session_id is None:
            return commands
        warm = self._first_warm()
        permit = self._permits[session_id]
        if permit.successor_id == actor_id:
            # Whoever moves the session asks again.
            self._permits.set_successor(permit, None)
            return commands
        if warm is not None:
            return [*commands, self._give(permit, warm, now)]
        permit.actor_id = None
        self._queue.insert(0, session_id)
        return commands

    def actor_gone(self, actor_id: ActorId) -> None:
        """A killed actor's slot is free again."""
        actor = self._actors.get(actor_id)
        if actor is not None and actor.state is ActorState.DYING:
            self._actors.remove(actor)

    def adopt(self, actor_id: ActorId, session_id: SessionId | None, now: float) -> None:
        """Take an actor into the books that an earlier roster started: live with its session,
        or (None) starting until it says that it is warm."""
        if self._actors.get(actor_id) is not None:
            return
        state = ActorState.STARTING if session_id is None else ActorState.LIVE
        self._actors.add(Actor(actor_id=actor_id, state=state, since=now, session_id=session_id))
        if session_id is not None:
            permit = Permit(session_id=session_id, actor_id=actor_id, until=now, holds_slot=True)
            self._permits.put(permit, pending=False)

    # Nodes

    def actor_is_on(self, actor_id: ActorId, node_id: NodeId) -> None:
        """For one that this roster did not start itself."""
        actor = self._actors.get(actor_id)
        if actor is not None:
            self._actors.put_on(actor, node_id)

    def drain_nodes(self, nodes: Set[NodeId], now: float) -> list[Command]:
        """These, and no others, are draining: what is warm there goes. Sessions of a node that is
        not any more stay on their actors."""
        self._draining_nodes = frozenset(nodes)
        commands: list[Command] = []
        for actor in list(self._actors.of(ActorState.WARM)):
            if self._on_its_way_out(actor):
                commands += self._dismiss(actor.actor_id, now)
        for held in [self._permits[s] for s in self._moving()]:
            held_by = self._actors.get(held.actor_id)
            if held_by is not None and not self._on_its_way_out(held_by):
                commands += self._give_back(held, now)
        return commands

    def arrange(self, arrangement: Arrangement) -> None:
        """How many actors are kept warm from now on, and where."""
        self._limits = replace(self._limits, warm_target=arrangement.warm_target)
        self._placement = Placement(arrangement=arrangement)

    def _on_its_way_out(self, actor: Actor) -> bool:
        return actor.node_id in self._draining_nodes

    # Time

    def tick(self, now: float) -> list[Command]:
        """Everything that is due by ``now``: leases, deadlines, starts, surplus actors."""
        self._let_refill(now)
        return [*self._expire_leases(now), *self._expire_waiters(now), *self._balance(now)]

    def next_due(self, now: float) -> float | None:
        """When to tick next if nothing else happens before; None: no need to."""
        times = [permit.until for permit in self._permits.pending]
        if self._next_start_at is not None and self._next_start_at > now:
            times.append(self._next_start_at)
        if self._refill_at is not None and not self._queue and not self._movers:
            times.append(self._refill_at)
        return min(times, default=None)

    def drain(self, on: bool) -> None:
        """Refuse new sessions (or take them again). Those that wait already may still start."""
        self._draining = on

    def dismiss_all(self, now: float) -> list[Command]:
        """The end: no permits, nobody waits, every actor goes. New sessions are refused."""
        self._draining = True
        queue, self._queue = self._queue, []
        self._movers.clear()
        self._permits.clear()
        turned_away: list[Command] = [self._turn_away(s, Why.DRAINING, None) for s in queue]
        ids = [a.actor_id for a in self._actors if a.state is not ActorState.DYING]
        return [*turned_away, *(c for i in ids for c in self._dismiss(i, now))]

    # Views

    def count(self, state: ActorState) -> int:
        return self._actors.count(state)

    def warm_actors(self) -> list[ActorId]:
        return [actor.actor_id for actor in self._actors.of(ActorState.WARM)]

    def state_of(self, actor_id: ActorId) -> ActorState | None:
        actor = self._actors.get(actor_id)
        return actor.state if actor else None

    def snapshot(self, now: float) -> RosterSnapshot:
        return RosterSnapshot(
            starting=self.count(ActorState.STARTING),
            warm=self.count(ActorState.WARM),
            reserved=self.count(ActorState.RESERVED),
            live=self.count(ActorState.LIVE),
            dying=self.count(ActorState.DYING),
            waiting=len(self._queue),
            permits=len(self._permits),
            max_sessions=self._limits.max_sessions,
            warm_target=self._limits.warm_target,
            draining=self._draining,
            draining_nodes=tuple(sorted(self._draining_nodes)),
            moving=len(self._moving()),
            expected_warm_s=self._forecast.warm_s,
            expected_session_s=self._forecast.session_s,
            estimated_wait_s=self._wait_now_s(now),
            granted_total=self._counted["granted"],
            waited_total=self._counted["waited"],
            turned_away_total=dict(self._turned_away),
            started_total=self._counted["started"],
            start_failures_total=self._counted["start_failures"],
            lost_total=self._counted["lost"],
            leases_expired_total=self._counted["leases_expired"],
            actors=tuple(self._views(now)),
        )

    # Inside

    def _views(self, now: float) -> Iterable[ActorView]:
        for actor in self._actors:
            yield ActorView(
                actor_id=actor.actor_id,
                state=actor.state,
                session_id=actor.session_id,
                since_s=now - actor.since,
                node_id=actor.node_id,
            )

    def _answer_again(self, held: Permit) -> Grant | Wait:
        if held.actor_id is not None:
            return Grant(session_id=held.session_id, actor_id=held.actor_id)
        return Wait(session_id=held.session_id, estimate_s=held.estimate_s, until=held.until)

    def _turn_away(
        self, session_id: SessionId, why: Why, estimate_s: float | None, wait_s: float = 0.0
    ) -> TurnAway:
        """It may come again when what it is ready to wait, ``wait_s``, would be enough."""
        self._turned_away[why] += 1
        retry_s = self._limits.full_retry_after_s if estimate_s is None else estimate_s - wait_s
        retry_s = min(max(1.0, retry_s), self._limits.max_retry_after_s)
        return TurnAway(
            session_id=session_id, why=why, retry_after_s=retry_s, estimate_s=estimate_s
        )

    def _give(self, permit: Permit, actor: Actor, now: float) -> Grant:
        lease_until = now + self._limits.lease_s
        self._permits.put(
            replace(permit, actor_id=actor.actor_id, until=lease_until, holds_slot=True)
        )
        actor.session_id = permit.session_id
        self._actors.move(actor, ActorState.RESERVED, now)
        self._counted["granted"] += 1
        self._hold_refill(now)
        return Grant(session_id=permit.session_id, actor_id=actor.actor_id)

    def _reserve_admitted(self, session_id: SessionId, now: float, wait_s: float) -> Answer:
        """It was promised an actor: no estimate turns it away, only its deadline."""
        permit = Permit(session_id=session_id, until=now + wait_s, holds_slot=True)
        actor = self._first_warm()
        if actor is not None:
            return self._give(permit, actor, now)
        place = sum(1 for s in self._queue if self._permits[s].holds_slot)
        return self._wait(permit, place, self._start_estimate_s(place, now))

    def _hold_refill(self, now: float) -> None:
        limits = self._limits
        if limits.refill_calm_s <= 0:
            return
        if self._held_since is None:
            self._held_since = now
        latest = self._held_since + limits.max_refill_hold_s
        self._refill_at = min(now + limits.refill_calm_s, latest)

    def _let_refill(self, now: float) -> None:
        if self._refill_at is not None and now >= self._refill_at:
            self._held_since = self._refill_at = None

    def _enqueue(self, permit: Permit, now: float, wait_s: float) -> Answer:
        estimate_s: float | None
        if permit.holds_slot:
            place, why, estimate_s = 0, Why.WAIT, self._start_estimate_s(0, now)
        else:
            place = len(self._queue)
            why = Why.SLOTS if self._slots_missing(place) > 0 else Why.WAIT
            estimate_s = self._estimate_s(place, now)
        if estimate_s is None or estimate_s > wait_s:
            return self._turn_away(permit.session_id, why, estimate_s, wait_s)
        return self._wait(permit, place, estimate_s)

    def _wait(self, permit: Permit, place: int, estimate_s: float) -> Wait:
        permit.estimate_s = estimate_s
        self._permits.put(permit)
        self._queue.insert(place, permit.session_id)
        self._counted["waited"] += 1
        return Wait(session_id=permit.session_id, estimate_s=estimate_s, until=permit.until)

    def _free_slots(self) -> int:
        return max(0, self._limits.max_sessions - self._permits.slots_taken)

    def _slots_missing(self, place: int) -> int:
        """How many sessions must end before there is a slot for ``place`` of the queue."""
        ahead = sum(1 for s in self._queue[:place] if not self._permits[s].holds_slot)
        return max(0, ahead + 1 - self._free_slots())

    def _wait_now_s(self, now: float) -> float | None:
        if self._draining:
            return None
        if self._first_warm() is not None and not self._queue and self._free_slots() > 0:
            return 0.0
        return self._estimate_s(len(self._queue), now)

    def _estimate_s(self, place: int, now: float) -> float | None:
        """How long until the session at ``place`` of the queue gets a slot and an actor; None: it
        needs another's slot, and nobody knows how long sessions last."""
        missing, start_s = self._slots_missing(place), self._start_estimate_s(place, now)
        if missing == 0:
            return start_s
        slot_s = self._forecast.for_slot_s(missing, self._limits.max_sessions)
        return None if slot_s is None else max(slot_s, start_s)

    def _start_estimate_s(self, place: int, now: float) -> float:
        starting = self._actors.of(ActorState.STARTING)
        pause_s = max(0.0, (self._next_start_at or now) - now)
        return self._forecast.for_actor_s(place, [now - a.since for a in starting], pause_s)

    def _first_warm(self) -> Actor | None:
        return self._placement.to_give(self._actors)

    def _make_warm(self, actor: Actor, now: float) -> list[Command]:
        if self._on_its_way_out(actor):
            return self._dismiss(actor.actor_id, now)
        actor.session_id = None
        self._actors.move(actor, ActorState.WARM, now)
        return self._serve_queue(now)

    def _moving(self) -> list[SessionId]:
        return [*self._permits.with_successor, *self._movers]

    def _serve_movers(self, now: float) -> None:
        """An interview under way goes before one that has not begun."""
        while self._movers and (actor := self._first_warm()) is not None:
            permit = self._permits[self._movers.pop(0)]
            self._permits.set_successor(permit, actor.actor_id)
            actor.session_id = permit.session_id
            self._actors.move(actor, ActorState.RESERVED, now)

    def _serve_queue(self, now: float) -> list[Command]:
        """Warm actors to those who wait, in turn, as far as there are slots."""
        self._serve_movers(now)
        served: list[Command] = []
        while self._queue and (actor := self._first_warm()) is not None:
            permit = self._permits[self._queue[0]]
            if not permit.holds_slot and self._free_slots() == 0:
                break
            self._queue.pop(0)
            served.append(self._give(permit, actor, now))
        return served

    def _dismiss(self, actor_id: ActorId, now: float) -> list[Command]:
        actor = self._actors.get(actor_id)
        if actor is None or actor.state is ActorState.DYING:
            return []
        self._actors.move(actor, ActorState.DYING, now)
        return [KillActor(actor_id=actor_id)]

    def _expire_leases(self, now: float) -> list[Command]:
        expired = [
            p.session_id
            for p in self._permits.pending
            if (p.actor_id or p.admitted) and p.until <= now
        ]
        self._counted["leases_expired"] += len(expired)
        return [command for s in expired for command in self.release(s, now)]

    def _expire_waiters(self, now: float) -> list[Command]:
        late = [s for s in self._queue if self._permits[s].until <= now]
        for session_id in late:
            self._queue.remove(session_id)
            self._permits.pop(session_id)
        turned_away: list[Command] = [
            self._turn_away(s, Why.WAIT, self._estimate_s(len(self._queue), now)) for s in late
        ]
        # One that lost its actor held a slot.
        return [*turned_away, *self._serve_queue(now)] if late else []

    def _balance(self, now: float) -> list[Command]:
        waiting = len(self._queue) + len(self._movers)
        placement = self._placement.opened() if waiting else self._placement
        counted = placement.pool(self._actors)
        counts = PoolCounts(
            warm=counted[ActorState.WARM],
            starting=counted[ActorState.STARTING],
            busy=counted[ActorState.RESERVED] + counted[ActorState.LIVE],
            dying=counted[ActorState.DYING],
            waiting=waiting,
        )
        bounds = self._limits.bounds(len(self._moving()), placement.slots(self._actors))
        decision = decide(counts, bounds)
        untold = self._limits.scaled and self._placement.arrangement is None
        surplus = placement.to_retire(0 if untold else decision.retire, self._actors)
        if counts.warm >= min(bounds.warm_target, bounds.slots - counts.busy - counts.dying):
            surplus += placement.to_clear_out(self._actors)
        if surplus:
            return [command for a in surplus for command in self._dismiss(a.actor_id, now)]
        if not self._may_fill_up(now, waiting):
            return []
        starts = (self._start(placement, now) for _ in range(decision.start))
        return [start for start in starts if start is not None]

    def _may_fill_up(self, now: float, waiting: int) -> bool:
        if self._next_start_at is not None and now < self._next_start_at:
            return False
        return waiting > 0 or not (self._draining or self._refill_at is not None)

    def _start(self, placement: Placement, now: float) -> StartActor | None:
        """None: no node has a slot for it."""
        on, not_on = None, self._draining_nodes
        if placement.arrangement is not None:
            on, not_on = placement.node_for_start(self._actors, not_on), frozenset()
            if on is None:
                return None
        self._last_number += 1
        actor_id = ActorId(f"{self._prefix}-{self._last_number}")
        self._actors.add(Actor(actor_id=actor_id, state=ActorState.STARTING, since=now, node_id=on))
        self._counted["started"] += 1
        return StartActor(actor_id=actor_id, on=on, not_on=tuple(sorted(not_on)))
