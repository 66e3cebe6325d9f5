import asyncio

from agent_actor.contract import SessionId
from fleet import endings
from fleet.endings import Endings, EndStep
from tests.unit.fleet.control_fakes import ENOUGH_S

A = SessionId("s-a")


class Steps:
    """Steps that note when they are done, and fail while told to."""

    def __init__(self):
        self.done = []
        self.broken = set()

    def __call__(self, *names):
        return [EndStep(name=name, work=lambda name=name: self.work(name)) for name in names]

    async def work(self, name):
        if name in self.broken:
            raise OSError("broken")
        self.done.append(name)


async def test_all_in_order():
    steps, ends = Steps(), Endings()
    assert await ends.run(A, steps("one", "two", "three"))
    assert steps.done == ["one", "two", "three"]
    assert ends.owed == 0


async def test_a_failure_is_counted_and_owed():
    steps, ends = Steps(), Endings()
    steps.broken.add("two")
    assert not await ends.run(A, steps("one", "two", "three"))
    assert steps.done == ["one", "three"]
    assert (ends.failures["two"], ends.owed) == (1, 1)


async def test_paying_tries_only_what_is_owed():
    steps, ends = Steps(), Endings()
    steps.broken.add("two")
    await ends.run(A, steps("one", "two"))
    assert not await ends.pay()
    assert ends.failures["two"] == 2
    steps.broken.clear()
    assert await ends.pay()
    assert steps.done == ["one", "two"]
    assert await ends.pay()


async def test_who_owes_is_known_also_while_it_is_paid():
    steps, ends = Steps(), Endings()
    steps.broken.add("two")
    assert ends.debtors == set()
    await ends.run(A, steps("one", "two"))
    assert ends.debtors == {A}
    steps.broken.clear()
    meanwhile = []
    step = EndStep(name="three", work=lambda: _noting(meanwhile, ends))
    ends._owed.extendleft(type(ends._owed[0])(session_id=A, step=step) for _ in range(1))
    assert await ends.pay()
    assert meanwhile == [{A}]
    assert ends.debtors == set()


async def _noting(into, ends):
    into.append(ends.debtors)


async def test_a_step_that_hangs_is_a_failure(monkeypatch):
    monkeypatch.setattr(endings, "STEP_DEADLINE_S", 0.01)
    ends = Endings()
    assert not await ends.run(A, [EndStep(name="slow", work=asyncio.Event().wait)])
    assert ends.failures["slow"] == 1


async def test_debts_are_paid_in_the_background_with_growing_pauses():
    pauses = []

    async def nap(seconds):
        pauses.append(seconds)
        await asyncio.sleep(0)

    steps, ends = Steps(), Endings(sleep=nap)
    steps.broken.add("one")
    await ends.run(A, steps("one"))
    paying = asyncio.create_task(ends.keep_paying())
    async with asyncio.timeout(ENOUGH_S):
        while ends.failures["one"] < 9:
            await asyncio.sleep(0.001)
        steps.broken.clear()
        while ends.owed:
            await asyncio.sleep(0.001)
    assert steps.done == ["one"]
    assert pauses[:3] == [1.0, 2.0, 4.0]
    assert max(pauses) <= endings.LONGEST_PAUSE_S
    paying.cancel()
    await asyncio.gather(paying, return_exceptions=True)
