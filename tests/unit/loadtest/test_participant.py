"""The shell around a participant, where no room is needed to see what it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from loadtest.participants import participant
from loadtest.participants.errors import ConnectFailed, ServerUnreachable, TokenRejected
from loadtest.participants.participant import ParticipantOptions, run_participant
from loadtest.participants.scripts import load_script
from loadtest.participants.voice import Voices


@pytest.mark.parametrize(
    ("patience_s", "tries", "told"), [(0.0, 1, ServerUnreachable), (60.0, 3, TokenRejected)]
)
async def test_one_with_patience_comes_once_the_server_is_back(
    patience_s: float, tries: int, told: type[ConnectFailed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no matter of time is not tried again."""
    found: list[ConnectFailed] = []

    @asynccontextmanager
    async def visit(**_: object) -> AsyncIterator[None]:
        found.append(ServerUnreachable("away") if len(found) < 2 else TokenRejected("expired"))
        raise found[-1]
        yield

    monkeypatch.setattr(participant, "visit", visit)
    monkeypatch.setattr(participant, "TRY_AGAIN_S", 0.0)
    options = ParticipantOptions(
        url="ws://nowhere", token="t", script=load_script("cooperative"), patience_s=patience_s
    )
    voices = Voices(sample_rate=options.sample_rate, seed=0)
    with pytest.raises(told):
        await run_participant(options, lambda event: None, voices=voices)
    assert len(found) == tries
