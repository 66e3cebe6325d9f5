from __future__ import annotations

from agent_actor.dialogue import MAX_CUT_OFF_CHARS, MAX_SAID, MAX_SAID_CHARS, Dialogue, Said


def said(text: str, speaker: str = "participant") -> Said:
    return Said(speaker=speaker, text=text)


def test_the_sentence_under_way_is_known_until_it_is_over() -> None:
    dialogue = Dialogue()
    dialogue.begin_words()
    dialogue.words("Where do ")
    dialogue.words("you walk")
    dialogue.add(said("Hm."))
    assert dialogue.cut_off == "Where do you walk"
    dialogue.add(said("Where do you walk?", "interviewer"))
    assert dialogue.cut_off == ""
    assert [s.text for s in dialogue.said] == ["Hm.", "Where do you walk?"]


def test_the_next_sentence_takes_the_place_of_one_that_was_never_heard() -> None:
    dialogue = Dialogue()
    dialogue.words("Not this one.")
    dialogue.begin_words()
    dialogue.words("This one.")
    assert dialogue.cut_off == "This one."


def test_of_a_sentence_cut_off_the_whole_words_that_were_heard_are_known() -> None:
    dialogue = Dialogue()
    assert dialogue.heard(0.5) == ""
    dialogue.words("Where do ")
    dialogue.words("you walk")
    heard = [dialogue.heard(n / 17) for n in range(18)]
    most = 5 * [""] + 3 * ["Where"] + 4 * ["Where do"] + 5 * ["Where do you"]
    assert heard == [*most, "Where do you walk"]


def test_it_keeps_the_newest() -> None:
    dialogue = Dialogue(said(f"{n}") for n in range(MAX_SAID + 10))
    assert len(dialogue.said) == MAX_SAID
    assert dialogue.said[-1].text == f"{MAX_SAID + 9}"
    dialogue.add(said("x" * (MAX_SAID_CHARS - 1)))
    assert [s.text[:3] for s in dialogue.said] == ["xxx"]
    dialogue.add(said("y" * 2 * MAX_SAID_CHARS))
    assert [len(s.text) for s in dialogue.said] == [MAX_SAID_CHARS]
    dialogue.words("z" * 2 * MAX_CUT_OFF_CHARS)
    assert len(dialogue.cut_off) == MAX_CUT_OFF_CHARS


def test_the_text_is_made_once_for_what_was_said() -> None:
    dialogue = Dialogue([said("One.")])
    text = dialogue.said_text()
    dialogue.words("Two")
    assert dialogue.said_text() is text
    dialogue.add(said("Two."))
    assert dialogue.said_text() != text
