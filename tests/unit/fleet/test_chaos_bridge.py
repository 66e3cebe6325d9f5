"""How bursts that LiveKit dispatched are judged."""

from fleet.bench.chaos.bridge import BRIDGES, BURST, Burst, Plan, Witness, bars, plans
from fleet.bench.chaos.evidence import Money
from fleet.bench.chaos.fault import Trials
from fleet.bench.progress import Progress
from fleet.bench.report import Judgement

NOTHING = Money(ledger_micro_usd=0, invoice_pico_usd=0, untold_pico_usd=0)
WITNESS = Witness(attempts=1, disturbances=[], ended_before=False, money=NOTHING)


def trials(count=4, *, smoke=False):
    return Trials(count=count, seed=7, smoke=smoke, progress=Progress())


def burst(number=0, *, kills=None, **rooms):
    """``rooms``: how many agents, by the room's number, where it is not one."""
    plan = Plan(number=number, kills=kills, after_s=0.1)
    ones = dict.fromkeys(plan.rooms, 1)
    agents = {**ones, **{plan.rooms[int(n[1:])]: count for n, count in rooms.items()}}
    return Burst(plan=plan, agents=agents, sessions=ones, waited_s=[1.0], heard=True)


def missed(bursts, witness=WITNESS, **options):
    judged = bars(bursts, witness, trials(len(bursts), **options))
    return [bar.name for bar in judged if bar.judgement is Judgement.MISSED]


def test_every_second_burst_has_a_kill_and_the_same_seed_the_same_ones():
    first, again = plans(trials(20)), plans(trials(20))
    assert first == again
    assert [plan.kills is not None for plan in first] == [True, False] * 10
    assert {plan.kills for plan in first} == {*BRIDGES, None}
    assert all(len(set(plan.rooms)) == BURST for plan in first)


def test_all_well():
    killed = burst(1, kills="bridge-0")
    killed.again_s, killed.back_s = 0.6, 5.0
    assert missed([burst(), killed]) == []


def test_a_room_with_two_or_without_one_is_missed():
    assert missed([burst(n3=2)]) == ["rooms with exactly one agent and one session"]
    assert missed([burst(n3=0)]) == ["rooms with exactly one agent and one session"]


def test_a_session_too_many_is_missed_though_its_agent_never_came():
    double = burst()
    double.sessions[double.plan.rooms[0]] = 2
    assert missed([double]) == ["rooms with exactly one agent and one session"]


def test_nobody_after_a_kill_or_too_late_is_missed():
    late, never = burst(kills="bridge-0"), burst(kills="bridge-1")
    late.again_s = 3.1
    name = "from a bridge's kill to the agent of the next dispatch, most"
    assert missed([late]) == [name]
    assert missed([never]) == [name]
    assert missed([late], smoke=True) == []


def test_the_interview_beside_notices_nothing():
    noticed = Witness(attempts=2, disturbances=["rejoined"], ended_before=False, money=NOTHING)
    assert missed([burst()], noticed) == [
        "disturbances of the interview beside",
        "interviews beside that were kept",
    ]
