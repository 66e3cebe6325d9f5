from __future__ import annotations

import base64

import pytest

from loadtest.simulators.openai_audio import (
    CHUNK_MS,
    ChunkLibrary,
    InputBuffer,
    Turn,
    decode_audio,
)
from loadtest.simulators.openai_schema import ClientError
from loadtest.simulators.speech import SpeechLibrary, silence, synthesize
from loadtest.simulators.vad import SpeechStopped, VadSettings

RATE = 24_000
SPEECH = synthesize(seed=5, duration_ms=1000, sample_rate=RATE)


def pause(ms: int) -> bytes:
    return silence(duration_ms=ms, sample_rate=RATE)


def buffer(*, manual: bool) -> InputBuffer:
    return InputBuffer(settings=VadSettings(), manual=manual)


def test_a_detected_turn_spans_padding_speech_and_silence() -> None:
    heard = buffer(manual=False)
    stopped = heard.append(pause(1000) + SPEECH + pause(600))[-1]
    assert isinstance(stopped, SpeechStopped)
    turn = heard.close_turn(stopped)
    assert turn.duration_ms == pytest.approx(300 + 1000 + 500, abs=80)
    assert turn.voiced_ms > 700


def test_a_manual_turn_is_all_that_was_appended() -> None:
    heard = buffer(manual=True)
    assert heard.append(SPEECH + pause(700)) == []
    assert heard.append(SPEECH) == []
    turn = heard.commit()
    assert turn.duration_ms == 2700
    assert turn.voiced_ms > 1400


@pytest.mark.parametrize("manual", [True, False])
def test_under_100_ms_there_is_nothing_to_commit(manual: bool) -> None:
    heard = buffer(manual=manual)
    heard.append(pause(99))
    with pytest.raises(ClientError, match=r"buffer only has 99\.00ms") as caught:
        heard.commit()
    assert caught.value.code == "input_audio_buffer_commit_empty"


def test_cleared_audio_is_in_no_turn() -> None:
    heard = buffer(manual=True)
    heard.append(SPEECH)
    heard.clear()
    heard.append(pause(200))
    assert heard.commit() == Turn(duration_ms=200, voiced_ms=0)


def test_committing_during_a_detected_turn_ends_it() -> None:
    heard = buffer(manual=False)
    heard.append(pause(500) + SPEECH)
    assert heard.commit().duration_ms == pytest.approx(1300, abs=80)
    assert heard.append(pause(1000)) == []


def test_pieces_join_to_the_clip_and_are_kept() -> None:
    library = SpeechLibrary(seed=1, sample_rate=RATE, takes=1, take_ms=1000)
    chunks = ChunkLibrary(library)
    ends = [CHUNK_MS, 2 * CHUNK_MS, 500]
    starts = [0, *ends[:-1]]
    joined = b"".join(
        base64.b64decode(chunks.piece(choice=0, start_ms=start, end_ms=end))
        for start, end in zip(starts, ends, strict=True)
    )
    assert joined == library.clip(choice=0, duration_ms=500)
    first, again = (chunks.piece(choice=0, start_ms=0, end_ms=CHUNK_MS) for _ in range(2))
    assert first is again


@pytest.mark.parametrize("bad", [None, 5, "***", base64.b64encode(b"odd").decode()])
def test_audio_that_is_none_is_refused(bad: object) -> None:
    with pytest.raises(ClientError, match="mono PCM16 at 24kHz"):
        decode_audio(bad)
