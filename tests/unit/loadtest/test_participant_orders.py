"""Orders of `many`, secrets, and errors: nothing a participant says holds a token."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from loadtest.participants import many
from loadtest.participants.errors import (
    BadOrder,
    BadScript,
    Broken,
    ConnectFailed,
    ParticipantError,
    ServerUnreachable,
    TokenRejected,
)
from loadtest.participants.many import Crowd, options_of
from loadtest.participants.redact import RedactingFormatter, redact
from loadtest.participants.uplink import UplinkMode
from loadtest.participants.visit import connect_failure

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwIn0.c2lnbmF0dXJl-_x"
ORDER: dict[str, Any] = {"id": "p", "url": "ws://127.0.0.1:1", "token": TOKEN, "script": "silent"}


def test_order_becomes_options() -> None:
    given = {"seed": 7, "max_s": 3.5, "uplink": "speech", "t0_epoch_s": 9, "connect_deadline_s": 60}
    options = options_of({**ORDER, **given})
    assert options.script.name == "silent"
    assert (options.seed, options.max_s, options.t0_epoch_s) == (7, 3.5, 9)
    assert options.connect_deadline_s == 60
    assert options.uplink is UplinkMode.SPEECH


def test_token_is_not_in_the_options_repr() -> None:
    assert TOKEN not in repr(options_of(ORDER))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"token": ""}, "token"),
        ({"url": None}, "url"),
        ({"script": 3}, "script"),
        ({"seed": "1"}, "seed"),
        ({"max_s": True}, "max_s"),
        ({"uplink": "loud"}, "uplink"),
        ({"sample_rate": 44_100}, "sample_rate"),
        ({"agent_identity": 1}, "agent_identity"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_wrong_order_names_its_key(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(BadOrder, match=said):
        options_of({**ORDER, **wrong})


@pytest.mark.parametrize(
    ("line", "name", "error"),
    [
        (f'{{"token": "{TOKEN}"', None, "BadOrder"),
        ("[]", None, "BadOrder"),
        ('{"url": "ws://x"}', None, "BadOrder"),
        (json.dumps({**ORDER, "script": "nonsense"}), "p", "BadScript"),
        (json.dumps({**ORDER, "url": "nonsense"}), "p", "ServerUnreachable"),
    ],
)
async def test_bad_line_fails_alone_and_without_its_text(
    line: str, name: str | None, error: str
) -> None:
    written: list[Mapping[str, Any]] = []
    crowd = Crowd(written.append)
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    for item in (line, "\n", '{"id": "nobody", "stop": true}', None):
        lines.put_nowait(item)
    await asyncio.wait_for(crowd.run(lines), 10)
    failed = [entry for entry in written if entry["event"] == "failed"]
    assert [(entry["id"], entry["error"]) for entry in failed] == [(name, error)]
    assert crowd.failures == 1
    assert TOKEN not in json.dumps(written)


async def test_one_that_breaks_down_is_told_and_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def breaks_down(options: Any, *_: Any, **__: Any) -> None:
        raise AssertionError(f"no such track, {options.token}")

    monkeypatch.setattr(many, "run_participant", breaks_down)
    written: list[Mapping[str, Any]] = []
    crowd = Crowd(written.append)
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    for item in (*(json.dumps({**ORDER, "id": f"p{n}"}) for n in range(2)), None):
        lines.put_nowait(item)
    await asyncio.wait_for(crowd.run(lines), 10)
    failed = [(each["id"], each["error"]) for each in written if each["event"] == "failed"]
    assert failed == [("p0", "Broken"), ("p1", "Broken")]
    assert TOKEN not in json.dumps(written)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (f"signal failure: client error: 401 Unauthorized - invalid token: {TOKEN}", TokenRejected),
        ("signal failure: client error: 401 Unauthorized - permissions denied", TokenRejected),
        ("signal failure: client error: 404 Not Found - room does not exist", ConnectFailed),
        ("signal failure: transport connection error: Connection refused", ServerUnreachable),
        ("signal failure: transport timed out", ServerUnreachable),
    ],
)
def test_what_the_sdk_says_becomes_a_typed_error(said: str, kind: type[ConnectFailed]) -> None:
    error = connect_failure(said, "ws://server")
    assert type(error) is kind
    assert "ws://server" in str(error)
    assert TOKEN not in str(error)


def test_log_lines_lose_their_tokens() -> None:
    record = logging.LogRecord("livekit", 30, "", 0, "rejected: %s", (TOKEN,), None)
    assert RedactingFormatter().format(record) == "rejected: [token]"
    assert redact("no secret here") == "no secret here"


@pytest.mark.parametrize(
    "kind", [BadOrder, BadScript, Broken, ConnectFailed, ServerUnreachable, TokenRejected]
)
def test_errors_pickle(kind: type[ParticipantError]) -> None:
    again = pickle.loads(pickle.dumps(kind("why")))
    assert type(again) is kind
    assert str(again) == "why"
