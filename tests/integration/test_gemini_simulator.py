"""The real google plugin and the real google-genai client against the Gemini Live simulator."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types
from livekit import rtc
from livekit.agents import APIConnectOptions, function_tool, llm
from livekit.agents.metrics import RealtimeModelMetrics
from livekit.plugins.google.realtime import RealtimeModel
from livekit.plugins.google.realtime.realtime_api import RealtimeSession

from loadtest.simulators.speech import PARTICIPANT, silence, synthesize

pytestmark = [
    pytest.mark.filterwarnings("ignore:Setting `LiveConnectConfig.generation_config`"),
    pytest.mark.timeout(30),
]

MODEL = "gemini-2.5-flash-native-audio-preview-12-2025"
WITHIN_S = 8.0
RATE_HZ = 16_000


@dataclass(frozen=True, kw_only=True)
class Simulator:
    base_url: str
    control_url: str
    ca_cert: str

    def options(self) -> types.HttpOptions:
        """New for each client: the plugin writes its headers into them."""
        context = ssl.create_default_context(cafile=self.ca_cert)
        return types.HttpOptions(base_url=self.base_url, async_client_args={"ssl": context})

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.control_url}{path}").raise_for_status().json()

    def post(self, path: str, **body: Any) -> Any:
        return httpx.post(f"{self.control_url}{path}", json=body).raise_for_status().json()

    def invoice(self, match: str) -> dict[str, Any]:
        (invoice,) = self.get(f"/invoices?match={match}")["invoices"]
        return dict(invoice)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    tls_dir = tmp_path_factory.mktemp("tls")
    arguments = ["--tls-dir", str(tls_dir), "--ttfa-ms", "30-60", "--speech-s", "0.4-0.6"]
    command = [sys.executable, "-m", "loadtest.simulators", "gemini", *arguments]
    with subprocess.Popen(
        [*command, "--parent-pid-watch"], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready.pop("ready") is True
        assert ready.pop("provider") == "gemini_live"
        yield Simulator(**ready)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0


@dataclass
class Interview:
    """A plugin session and everything it emitted."""

    session: RealtimeSession
    generations: asyncio.Queue[llm.GenerationCreatedEvent] = field(default_factory=asyncio.Queue)
    interrupts: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    metrics: asyncio.Queue[RealtimeModelMetrics] = field(default_factory=asyncio.Queue)
    errors: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    reconnects: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    transcripts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session.on("generation_created", self.generations.put_nowait)
        self.session.on("input_speech_started", self.interrupts.put_nowait)
        self.session.on("error", self.errors.put_nowait)
        self.session.on("metrics_collected", self._on_metrics)
        self.session.on("input_audio_transcription_completed", self._on_transcript)

    def _on_metrics(self, metrics: RealtimeModelMetrics) -> None:
        # One without tokens follows each connect.
        (self.metrics if metrics.total_tokens else self.reconnects).put_nowait(metrics)

    def _on_transcript(self, event: llm.InputTranscriptionCompleted) -> None:
        if event.is_final:
            self.transcripts.append(event.transcript)

    def say(self, ms: int = 1_000, *, then_silent_ms: int = 600) -> None:
        pcm = synthesize(seed=9, duration_ms=ms, sample_rate=RATE_HZ, voice=PARTICIPANT)
        pcm += silence(duration_ms=then_silent_ms, sample_rate=RATE_HZ)
        self.session.push_audio(rtc.AudioFrame(pcm, RATE_HZ, 1, len(pcm) // 2))

    async def greeted(self) -> Spoken:
        generation = await soon(asyncio.wait_for(self.session.generate_reply(), WITHIN_S))
        await soon(self.generations.get())
        return await soon(played(generation))

    async def answered(self) -> Spoken:
        return await soon(played(await soon(self.generations.get())))

    async def metered(self) -> RealtimeModelMetrics:
        return await soon(self.metrics.get())


@dataclass(frozen=True)
class Spoken:
    seconds: float
    text: str
    calls: AsyncIterable[llm.FunctionCall]


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, WITHIN_S)


async def played(generation: llm.GenerationCreatedEvent) -> Spoken:
    """All that is said. The call stream, and the turn, end only when it would have been heard."""
    message = await anext(aiter(generation.message_stream))
    seconds = sum([frame.duration async for frame in message.audio_stream])
    text = "".join([piece async for piece in message.text_stream])
    return Spoken(seconds, text, generation.function_stream)


@asynccontextmanager
async def interview(
    simulator: Simulator, instructions: str, *, tools: list[Any] | None = None, **options: Any
) -> AsyncIterator[Interview]:
    model = RealtimeModel(
        model=options.pop("model", MODEL),
        api_key=options.pop("api_key", "key-0001"),
        instructions=instructions,
        http_options=simulator.options(),
        conn_options=APIConnectOptions(max_retry=3, retry_interval=0.05, timeout=5.0),
        **options,
    )
    session = model.session()
    try:
        if tools:
            await session.update_tools(tools)
        yield Interview(session)
    finally:
        await session.aclose()
        await model.aclose()


def tokens(invoice: dict[str, Any], name: str) -> int:
    return sum(line["usage"][name] for line in invoice["responses"])


async def test_it_greets_when_asked_to_speak_first(simulator: Simulator) -> None:
    async with interview(simulator, "greeting-test") as client:
        spoken = await client.greeted()
        metrics = await client.metered()
    invoice = simulator.invoice("greeting-test")
    assert 0.4 <= spoken.seconds <= 0.6
    assert spoken.text.endswith("?")
    assert invoice["responses"][0]["usage_sent"]
    assert metrics.output_token_details.audio_tokens == tokens(invoice, "output_audio")
    # 25 tokens for each second that was really heard.
    assert metrics.output_tokens == -(-round(spoken.seconds * 1_000) * 25 // 1_000)


async def test_it_answers_speech_and_the_plugins_metrics_equal_the_invoice(
    simulator: Simulator,
) -> None:
    async with interview(simulator, "answer-test") as client:
        await client.greeted()
        collected = [await client.metered()]
        for _ in range(2):
            client.say()
            assert (await client.answered()).seconds > 0.3
            collected.append(await client.metered())
    invoice = simulator.invoice("answer-test")
    assert len(client.transcripts) == 2
    sums = {
        "input_text": sum(m.input_token_details.text_tokens for m in collected),
        "input_audio": sum(m.input_token_details.audio_tokens for m in collected),
        "output_text": sum(m.output_token_details.text_tokens for m in collected),
        "output_audio": sum(m.output_token_details.audio_tokens for m in collected),
    }
    assert sums == {name: tokens(invoice, name) for name in sums}
    prices = {"input_text": 0.5, "input_audio": 3, "output_text": 2, "output_audio": 12}
    expected = sum(round(prices[name] * 1_000_000) * count for name, count in sums.items())
    assert invoice["total_pico_usd"] == expected
    # The whole conversation so far is billed again with each turn.
    heard = [m.input_token_details.audio_tokens for m in collected]
    assert heard[0] == 0
    assert heard[2] > heard[1] + 25


async def test_it_calls_its_tool_and_speaks_on_after_the_result(simulator: Simulator) -> None:
    @function_tool
    async def advance_phase(reason: str) -> str:
        """Go to the next phase."""
        return reason

    async with interview(simulator, "tool-test", tools=[advance_phase]) as client:
        await client.greeted()
        await client.metered()
        for _ in range(2):
            client.say()
            spoken = await client.answered()
            await client.metered()
        call = await soon(anext(aiter(spoken.calls)))
        assert call.name == "advance_phase"
        assert set(json.loads(call.arguments)) == {"reason"}
        context = client.session.chat_ctx
        context.items.append(call)
        context.items.append(
            llm.FunctionCallOutput(
                call_id=call.call_id, name=call.name, output="next topic", is_error=False
            )
        )
        await client.session.update_chat_ctx(context)
        assert (await client.answered()).seconds > 0.3
        await client.metered()
    invoice = simulator.invoice("tool-test")
    assert len(invoice["responses"]) == 4
    assert tokens(invoice, "output_text") > 0
    assert all(line["usage_sent"] for line in invoice["responses"])


async def test_speech_interrupts_what_is_being_played(simulator: Simulator) -> None:
    simulator.post("/scripts", match="barge-in-test", speech_s=[4, 4])
    async with interview(simulator, "barge-in-test") as client:
        # All 4 s are sent within 0.5 s; the server reckons that they are being played.
        spoken = await client.greeted()
        client.say(then_silent_ms=0)
        await soon(client.interrupts.get())
        metrics = await client.metered()
        assert simulator.get("/sessions?match=barge-in-test")["sessions"][0]["stage"] == "idle"
        client.say(100)
        await client.answered()
    first = simulator.invoice("barge-in-test")["responses"][0]
    assert first["status"] == "interrupted"
    assert spoken.seconds == pytest.approx(4.0)
    # Generated, so billed, whether it was heard or not.
    assert first["usage"]["output_audio"] == metrics.output_tokens == 100


async def test_a_session_that_forbids_it_is_not_interrupted(simulator: Simulator) -> None:
    config = types.RealtimeInputConfig(activity_handling=types.ActivityHandling.NO_INTERRUPTION)
    async with interview(simulator, "polite-test", realtime_input_config=config) as client:
        await client.greeted()
        client.say()
        await client.metered()
        assert (await client.answered()).seconds > 0.3
        await client.metered()
    statuses = [line["status"] for line in simulator.invoice("polite-test")["responses"]]
    assert statuses == ["completed", "completed"]


@pytest.mark.parametrize(("silence_ms", "turns"), [(500, 2), (3_000, 1)])
async def test_a_patient_session_lets_the_user_think(
    simulator: Simulator, silence_ms: int, turns: int
) -> None:
    activity = types.AutomaticActivityDetection(silence_duration_ms=silence_ms)
    config = types.RealtimeInputConfig(automatic_activity_detection=activity)
    name = f"patience-{silence_ms}-test"
    async with interview(simulator, name, realtime_input_config=config) as client:
        await client.greeted()
        await client.metered()
        client.say(then_silent_ms=1_500)
        client.say(then_silent_ms=silence_ms + 100)
        for _ in range(turns):
            await client.metered()
        assert simulator.get(f"/sessions?match={name}")["sessions"][0]["turns"] == turns


async def test_new_instructions_are_obeyed(simulator: Simulator) -> None:
    async with interview(simulator, "update-test") as client:
        await client.greeted()
        await client.metered()
        await client.session.update_instructions("update-test [closing]")
        client.say()
        assert "oodbye" in (await client.answered()).text


@pytest.mark.parametrize("model", [MODEL, "gemini-3.8-live"])
async def test_instructions_of_one_reply_are_obeyed(simulator: Simulator, model: str) -> None:
    async with interview(simulator, f"reply-{model}-test", model=model) as client:
        reply = client.session.generate_reply(instructions="[closing] now")
        assert "oodbye" in (await soon(played(await soon(reply)))).text
        metrics = await client.metered()
    (line,) = simulator.invoice(f"reply-{model}-test")["responses"]
    thoughts = line["usage"]["output_text"]
    # The plugin's metrics know nothing of thoughts, which are billed all the same.
    assert (thoughts > 0) == (model == "gemini-3.8-live")
    assert metrics.output_tokens == line["usage"]["output_audio"]


async def test_a_connection_told_to_go_away_is_resumed_with_its_context(
    simulator: Simulator,
) -> None:
    async with interview(simulator, "resume-test") as client:
        await client.greeted()
        first = await client.metered()
        client.say()
        await client.answered()
        second = await client.metered()
        while not client.reconnects.empty():
            client.reconnects.get_nowait()
        simulator.post("/faults", kind="go_away", match="resume-test", params={"time_left_s": 5})
        client.say(100, then_silent_ms=0)
        await soon(client.reconnects.get())
        client.say()
        await client.answered()
        third = await client.metered()
    invoice = simulator.invoice("resume-test")
    assert len(invoice["responses"]) == 3
    assert third.input_tokens > second.input_tokens > first.input_tokens
    assert third.input_tokens == sum(invoice["responses"][2]["usage"][k] for k in INPUTS)


INPUTS = ("input_text", "input_audio")


async def test_a_dropped_response_is_billed_and_the_plugin_reconnects(
    simulator: Simulator,
) -> None:
    async with interview(simulator, "drop-test") as client:
        simulator.post("/faults", kind="drop_mid_response", match="drop-test")
        await client.greeted()
        error = await soon(client.errors.get())
        assert error.recoverable
        await soon(client.session.generate_reply())
        await client.metered()
    lines = [
        line
        for invoice in simulator.get("/invoices?match=drop-test")["invoices"]
        for line in invoice["responses"]
    ]
    assert [(line["status"], line["usage_sent"]) for line in lines] == [
        ("failed", False),
        ("completed", True),
    ]
    assert lines[0]["usage"]["output_audio"] > 0


async def test_usage_withheld_is_billed_all_the_same(simulator: Simulator) -> None:
    async with interview(simulator, "withheld-test") as client:
        simulator.post("/faults", kind="no_usage", match="withheld-test")
        await client.greeted()
        client.say()
        await client.answered()
        await client.metered()
    lines = simulator.invoice("withheld-test")["responses"]
    assert [line["usage_sent"] for line in lines] == [False, True]


async def test_a_slow_answer_takes_its_time(simulator: Simulator) -> None:
    slow = {"ttfa_ms": 400, "speed": 8}
    simulator.post("/faults", kind="slow", match="slow-test", params=slow)
    async with interview(simulator, "slow-test") as client:
        began_s = time.monotonic()
        await soon(client.session.generate_reply())
        assert time.monotonic() - began_s >= 0.4


async def test_a_malformed_event_makes_the_plugin_reconnect(simulator: Simulator) -> None:
    async with interview(simulator, "malformed-test") as client:
        simulator.post("/faults", kind="malformed_event", match="malformed-test")
        await client.greeted()
        assert "Failed to parse" in str((await soon(client.errors.get())).error)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("insufficient_quota", "1011"),
        ("http_429", "429"),
        ("refuse", "503"),
    ],
)
async def test_a_refused_connection_is_an_error(
    simulator: Simulator, fault: str, said: str
) -> None:
    key = f"key-{fault[:4]}"
    simulator.post("/faults", kind=fault, match=key[-4:])
    async with interview(simulator, f"{fault}-test", api_key=key) as client:
        error = await soon(client.errors.get())
    assert not error.recoverable
    assert said in str(error.error)


async def test_an_invalid_key_is_an_error(simulator: Simulator) -> None:
    async with interview(simulator, "key-test", api_key="invalid") as client:
        error = await soon(client.errors.get())
    assert not error.recoverable
    assert "API key not valid" in str(error.error)
    assert simulator.get("/invoices?match=key-test")["invoices"] == []


async def test_a_live_session_can_be_dropped(simulator: Simulator) -> None:
    async with interview(simulator, "abort-test") as client:
        await client.greeted()
        (live,) = simulator.get("/sessions?match=abort-test")["sessions"]
        simulator.post(f"/sessions/{live['session_id']}/drop")
        assert (await soon(client.errors.get())).recoverable


# What the plugin does not let through, with the client it is built on.


@asynccontextmanager
async def connected(simulator: Simulator, **config: Any) -> AsyncIterator[Any]:
    client = genai.Client(api_key="key-0002", http_options=simulator.options())
    setup = types.LiveConnectConfig(response_modalities=[types.Modality.AUDIO], **config)
    try:
        async with client.aio.live.connect(model=MODEL, config=setup) as session:
            yield session
    finally:
        await client.aio.aclose()


async def received(session: Any, name: str) -> Any:
    while True:
        message = await soon(session._receive())
        if (value := getattr(message, name)) is not None:
            return value


async def test_a_connection_is_closed_some_time_after_it_was_told(simulator: Simulator) -> None:
    async with connected(simulator, system_instruction="away-test") as session:
        simulator.post("/faults", kind="go_away", match="away-test", params={"time_left_s": 0.3})
        await session.send_realtime_input(audio_stream_end=True)
        assert (await received(session, "go_away")).time_left == "0.3s"
        with pytest.raises(errors.APIError, match=r"1011.*Deadline expired"):
            await soon(session._receive())


async def test_a_setup_may_stay_unanswered(simulator: Simulator) -> None:
    simulator.post("/faults", kind="never_answer", match="silent-test")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5), connected(simulator, system_instruction="silent-test"):
            pass
    assert simulator.get("/stats")["faults_struck"]["never_answer"] == 1


async def test_an_unknown_handle_is_refused(simulator: Simulator) -> None:
    config = types.SessionResumptionConfig(handle="0" * 64)
    with pytest.raises(errors.APIError, match=r"1008.*session not found"):
        async with connected(simulator, session_resumption=config):
            pass


async def test_a_session_has_one_connection_at_a_time(simulator: Simulator) -> None:
    new = types.SessionResumptionConfig()
    async with connected(simulator, session_resumption=new) as session:
        await session.send_client_content(turns={"role": "user", "parts": [{"text": "hello"}]})
        handle = None
        while not handle:
            handle = (await received(session, "session_resumption_update")).new_handle
        again = types.SessionResumptionConfig(handle=handle)
        with pytest.raises(errors.APIError, match="1011"):
            async with connected(simulator, session_resumption=again):
                pass
        session_id = session.session_id
    async with connected(simulator, session_resumption=again) as resumed:
        assert resumed.session_id == session_id


async def test_speech_while_a_call_is_pending_cancels_it(simulator: Simulator) -> None:
    simulator.post("/scripts", match="cancel-test", turns_per_phase=1, acknowledge=0)
    tool = types.Tool(function_declarations=[types.FunctionDeclaration(name="advance_phase")])
    speech = synthesize(seed=2, duration_ms=800, sample_rate=RATE_HZ, voice=PARTICIPANT)
    pause = silence(duration_ms=600, sample_rate=RATE_HZ)
    async with connected(simulator, system_instruction="cancel-test", tools=[tool]) as session:
        await session.send_realtime_input(audio=_blob(speech + pause))
        (call,) = (await received(session, "tool_call")).function_calls
        await session.send_realtime_input(audio=_blob(speech))
        assert (await received(session, "tool_call_cancellation")).ids == [call.id]


async def test_a_frame_that_makes_no_sense_closes_the_connection(simulator: Simulator) -> None:
    async with connected(simulator) as session:
        await session._ws.send('{"realtimeInput": {}}')
        with pytest.raises(errors.APIError, match="1007"):
            await soon(session._receive())


def _blob(pcm: bytes) -> types.Blob:
    return types.Blob(data=pcm, mime_type=f"audio/pcm;rate={RATE_HZ}")
