from agent_actor.first_comer import FirstComer


def test_by_default_everybody_goes_by_their_own_name():
    who = FirstComer(None)
    who.came("p-1")
    assert (who.told("p-1"), who.in_room("p-2"), who.identity) == ("p-1", "p-2", None)


def test_the_first_is_the_participant_for_good():
    who = FirstComer("participant")
    assert who.in_room("participant") is None
    who.came("sip-1")
    who.came("p-2")
    assert who.in_room("participant") == "sip-1"
    assert who.told("sip-1") == "participant"
    assert who.told("p-2") == "p-2"


def test_whom_the_agent_before_took_is_the_one_whoever_is_there_now():
    who = FirstComer("participant")
    who.came("p-2")
    who.known("sip-1")
    who.came("p-3")
    assert who.in_room("participant") == "sip-1"
    assert (who.told("sip-1"), who.told("p-2")) == ("participant", "p-2")


def test_another_of_that_name_is_not_taken_for_it():
    who = FirstComer("participant")
    who.came("sip-1")
    assert who.told("participant") == ""
