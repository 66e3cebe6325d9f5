from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from agent_actor.logs import REDACTED, configure_logs, is_sensitive, redact, scrub, session_logs

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwIn0.c2lnbmF0dXJl"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs("test", level="DEBUG", stream=stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def parsed(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    "name",
    [
        "api_key",
        "apiKey",
        "apikey",
        "OPENAI_API_KEY",
        "secret",
        "livekit_api_secret",
        "token",
        "participantToken",
        "Authorization",
        "text",
        "user_transcript",
        "instructions",
        "room_metadata",
        "prompt_suffix",
    ],
)
def test_fields_with_keys_or_words_are_known_by_name(name: str) -> None:
    assert is_sensitive(name)


@pytest.mark.parametrize(
    "name", ["event", "session_id", "context", "monkey", "textile", "keyboard_layout", "tokenizer"]
)
def test_other_fields_are_left(name: str) -> None:
    assert not is_sensitive(name)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("wss://h/rtc?access_token=abc.def&x=1", f"wss://h/rtc?access_token={REDACTED}&x=1"),
        ("redis://:pass@h:1/0", f"redis://:{REDACTED}@h:1/0"),
        ("redis://user:pass@h:1/0", f"redis://user:{REDACTED}@h:1/0"),
        (f"refused {JWT} twice", f"refused {REDACTED} twice"),
        ("Authorization: Bearer abc", f"Authorization: Bearer {REDACTED}"),
        ("bad key sk-proj-abcdefgh123", f"bad key {REDACTED}"),
        ("nothing in it", "nothing in it"),
        ("http://h:80/a@b", "http://h:80/a@b"),
    ],
)
def test_what_looks_like_a_key_is_taken_out_of_text(text: str, left: str) -> None:
    assert scrub(text) == left


def test_redaction_reaches_inside_and_leaves_numbers() -> None:
    value = {
        "tokens": 12,
        "metadata_wait_s": 0.08,
        "request": {"headers": [{"authorization": "abc"}], "url": f"http://h?token={JWT}"},
        "metadata": {"provider": "x"},
    }

    assert redact(value) == {
        "tokens": 12,
        "metadata_wait_s": 0.08,
        "request": {
            "headers": [{"authorization": REDACTED}],
            "url": f"http://h?token={REDACTED}",
        },
        "metadata": REDACTED,
    }


def test_a_line_is_json_with_the_session_in_it(lines: io.StringIO) -> None:
    log = structlog.get_logger("some.module")

    with session_logs("s-1", attempt=2):
        log.info("phase entered", phase_id="intro", text="what was said")
    log.info("after")

    first, second = parsed(lines)
    assert first["event"] == "phase entered"
    assert (first["session_id"], first["attempt"], first["phase_id"]) == ("s-1", 2, "intro")
    assert (first["component"], first["level"], first["logger"]) == ("test", "info", "some.module")
    assert first["text"] == REDACTED
    assert first["timestamp"].endswith("Z")
    assert "session_id" not in second


def test_what_libraries_log_is_treated_alike(lines: io.StringIO) -> None:
    with session_logs("s-1"):
        logging.getLogger("library").warning(
            "connecting to %s", f"ws://h?access_token={JWT}", extra={"user_transcript": "hello"}
        )

    [line] = parsed(lines)
    assert line["event"] == f"connecting to ws://h?access_token={REDACTED}"
    assert line["user_transcript"] == REDACTED
    assert line["session_id"] == "s-1"


def test_an_exception_is_told_without_its_key(lines: io.StringIO) -> None:
    log = structlog.get_logger("some.module")

    try:
        raise ValueError(f"refused {JWT}")
    except ValueError:
        log.exception("failed")

    [line] = parsed(lines)
    assert "ValueError" in line["exception"]
    assert JWT not in lines.getvalue()


def test_talkative_libraries_are_quiet_below_warnings(lines: io.StringIO) -> None:
    logging.getLogger("livekit.agents").info("user said", extra={"said": "hello"})
    logging.getLogger("livekit.agents").warning("slow")

    assert [line["event"] for line in parsed(lines)] == ["slow"]
