"""The named scripts, and how a name or a file becomes a script."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadtest.participants.errors import BadScript
from loadtest.participants.script import (
    Departure,
    Interruption,
    Pause,
    Script,
    script_from_mapping,
)

NAMED: Mapping[str, Script] = {
    script.name: script
    for script in (
        Script(name="cooperative", noise_dbfs=-60.0),
        Script(
            name="interrupter",
            think_s=(0.3, 0.8),
            interruptions=(
                Interruption(utterance=2, after_s=1.0),
                Interruption(utterance=4, after_s=0.6),
            ),
        ),
        Script(
            name="thinker",
            answer_s=(4.0, 6.0),
            pauses=(Pause(answer=1, after_s=2.0, pause_s=10.0),),
            noise_dbfs=-60.0,
        ),
        Script(name="leaver_returns", departures=(Departure(after_answers=1, away_s=6.0),)),
        Script(name="leaves_early", departures=(Departure(after_answers=1),)),
        Script(name="silent", silent=True, noise_dbfs=-60.0),
        Script(
            name="talkative",
            think_s=(0.2, 0.6),
            answer_s=(8.0, 15.0),
            speaks_up_after_s=6.0,
            noise_dbfs=-60.0,
        ),
    )
}


def load_script(source: str | Mapping[str, Any]) -> Script:
    """A script by its name, by the path of a JSON file, or from decoded JSON. Raises BadScript."""
    if not isinstance(source, str):
        return script_from_mapping(source)
    if source in NAMED:
        return NAMED[source]
    path = Path(source)
    if path.suffix != ".json":
        known = ", ".join(NAMED)
        raise BadScript(f"no script named {source!r}; named scripts: {known}; or a .json file")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadScript(f"{source}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise BadScript(f"{source}: not JSON ({error})") from error
    return script_from_mapping(raw, default_name=path.stem)
