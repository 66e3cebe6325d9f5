from contextlib import contextmanager

import pytest

from fleet.steps import StepTimer


def test_steps_are_timed_by_name():
    times = iter([0.0, 1.0, 5.0, 7.5])
    timer = StepTimer(lambda: next(times))
    with timer("one"):
        pass
    with timer("two"):
        pass
    assert timer.timings_s == {"one": 1.0, "two": 2.5}


def test_a_failed_step_is_timed_and_named():
    times = iter([0.0, 3.0])
    timer = StepTimer(lambda: next(times))
    with pytest.raises(OSError, match="broken"), timer("one"):
        raise OSError("broken")
    assert timer.timings_s == {"one": 3.0}
    assert timer.current == "one"


def test_each_step_is_watched_and_sees_its_failure():
    seen = []

    @contextmanager
    def watch(step):
        seen.append(step)
        try:
            yield
        except OSError as error:
            seen.append(str(error))
            raise

    timer = StepTimer(lambda: 0.0, watch)
    with timer("one"):
        pass
    with pytest.raises(OSError, match="broken"), timer("two"):
        raise OSError("broken")
    assert seen == ["one", "two", "broken"]
