"""Scripts are read strictly: every mistake names its key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadtest.participants.errors import BadScript
from loadtest.participants.script import (
    Departure,
    Interruption,
    Pause,
    Script,
    script_from_mapping,
)
from loadtest.participants.scripts import NAMED, load_script

FULL = {
    "name": "full",
    "think_s": [0.5, 1],
    "answer_s": [2, 3.5],
    "turn_gap_s": 0.6,
    "pauses": [{"answer": 2, "after_s": 1, "pause_s": 10}],
    "interruptions": [{"utterance": 3, "after_s": 0.7}],
    "departures": [{"at_s": 20, "away_s": 5}, {"after_answers": 4}],
    "silent": False,
    "muted": False,
    "noise_dbfs": -60,
    "speaks_up_after_s": None,
}


def test_every_key_is_read() -> None:
    assert script_from_mapping(FULL) == Script(
        name="full",
        think_s=(0.5, 1.0),
        answer_s=(2.0, 3.5),
        turn_gap_s=0.6,
        pauses=(Pause(answer=2, after_s=1.0, pause_s=10.0),),
        interruptions=(Interruption(utterance=3, after_s=0.7),),
        departures=(Departure(at_s=20.0, away_s=5.0), Departure(after_answers=4)),
        noise_dbfs=-60.0,
    )


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"thinks": 1}, "script.thinks"),
        ({"name": ""}, "script.name"),
        ({"think_s": 1}, "script.think_s"),
        ({"think_s": [2, 1]}, "script.think_s"),
        ({"think_s": [1, "2"]}, "script.think_s"),
        ({"answer_s": [-1, 2]}, "script.answer_s"),
        ({"turn_gap_s": float("nan")}, "script.turn_gap_s"),
        ({"silent": 1}, "script.silent"),
        ({"noise_dbfs": 3}, "script.noise_dbfs"),
        ({"pauses": {}}, "script.pauses"),
        ({"pauses": [{"answer": 1, "after_s": 1}]}, r"script.pauses\[0\].pause_s: missing"),
        ({"pauses": [{"answer": 0, "after_s": 1, "pause_s": 1}]}, r"script.pauses\[0\].answer"),
        ({"pauses": [{"answer": 1, "after_s": 1, "pause_s": 1}] * 2}, "script.pauses.answer"),
        ({"interruptions": [{"utterance": True, "after_s": 1}]}, "utterance"),
        ({"departures": [{"away_s": 1}]}, r"departures\[0\]: give either"),
        ({"departures": [{"at_s": 1, "after_answers": 1}]}, r"departures\[0\]: give either"),
        ({"departures": [{"at_s": 1}, {"at_s": 2}]}, "only the last departure"),
    ],
)
def test_mistake_names_its_key(wrong: dict[str, Any], key: str) -> None:
    with pytest.raises(BadScript, match=key):
        script_from_mapping({**FULL, **wrong})


def test_not_an_object_is_an_error() -> None:
    with pytest.raises(BadScript, match="expected an object"):
        script_from_mapping([])  # type: ignore[arg-type]


def test_script_comes_by_name_by_file_or_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"silent": True}))
    assert load_script("thinker") is NAMED["thinker"]
    assert load_script(str(path)) == Script(name="mine", silent=True)
    assert load_script({"muted": True}) == Script(name="custom", muted=True)


@pytest.mark.parametrize(
    ("source", "said"),
    [("coperative", "named scripts: cooperative"), ("no/such.json", "cannot be read")],
)
def test_script_that_is_not_there_is_a_clear_error(source: str, said: str) -> None:
    with pytest.raises(BadScript, match=said):
        load_script(source)


def test_file_that_is_not_json_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text("{")
    with pytest.raises(BadScript, match="not JSON"):
        load_script(str(path))


def test_thinker_pauses_ten_seconds() -> None:
    assert [pause.pause_s for pause in NAMED["thinker"].pauses] == [10.0]
