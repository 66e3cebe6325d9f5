from dataclasses import replace

from fleet.outcomes import learned
from tests.unit.fleet.control_fakes import result_of, usage


def test_nothing_is_learned_from_no_result():
    assert learned([]) == {}


def test_money_adds_up_over_attempts_and_is_rounded_once():
    results = [result_of("s"), result_of("s", 2)]
    # Twice 1,000,001 pico-dollars: rounded up apart it would be 4 micro-dollars.
    assert learned(results)["spent_micro_usd"] == 3
    assert learned(results)["provider_sessions"] == ("sess-1", "sess-2")


def test_a_provider_session_that_was_resumed_is_named_once():
    results = [result_of("s"), result_of("s")]
    assert learned(results)["provider_sessions"] == ("sess-1",)


def test_an_attempt_that_spent_nothing():
    results = [result_of("s", usage=None), result_of("s", 2)]
    assert learned(results)["spent_micro_usd"] == 2
    assert "spent_micro_usd" not in learned([result_of("s", usage=None)])


def test_the_last_attempt_describes_the_interview():
    first, last = result_of("s", unmapped=("a",)), result_of("s", 2, unmapped=("b",))
    assert learned([first, last])["unmapped"] == ("b",)
    other = replace(usage("s", 2), model="another")
    assert learned([first, replace(last, usage=other)])["model"] == "another"
