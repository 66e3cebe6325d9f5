import asyncio
import sys

import ray.cloudpickle as cloudpickle

from fleet.actor_shell import shell_for

# A module that nothing here has imported, with a class that takes one argument.
MODULE = "wave"
PATH = f"{MODULE}:Wave_read"


class Recorder:
    """Stands for the real class; found by its path."""

    def __init__(self, actor_id):
        self.actor_id = actor_id

    async def ping(self):
        return float(len(self.actor_id))


def test_holding_the_class_does_not_import_what_it_is_made_of():
    sys.modules.pop(MODULE, None)
    shell_for(PATH)
    cloudpickle.dumps(shell_for(PATH))
    assert MODULE not in sys.modules


def test_unpickling_on_the_main_thread_imports_it():
    sys.modules.pop(MODULE, None)
    again = cloudpickle.loads(cloudpickle.dumps(shell_for(PATH)))
    assert again.made_of is sys.modules[MODULE].Wave_read


async def test_unpickling_on_another_thread_does_not():
    sys.modules.pop(MODULE, None)
    pickled = cloudpickle.dumps(shell_for(PATH))
    again = await asyncio.to_thread(cloudpickle.loads, pickled)
    assert MODULE not in sys.modules
    # From there it can be handed on.
    assert cloudpickle.loads(cloudpickle.dumps(again)).made_of is sys.modules[MODULE].Wave_read


async def test_calls_are_passed_on():
    shell = cloudpickle.loads(cloudpickle.dumps(shell_for(f"{__name__}:Recorder")))
    assert await shell("a-1").ping() == 3.0
