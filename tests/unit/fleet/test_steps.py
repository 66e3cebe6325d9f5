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
