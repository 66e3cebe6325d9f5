"""The real openai plugin, and raw WebSockets, against the OpenAI Realtime simulator."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import pytest
from livekit import rtc
from livekit.agents import APIConnectOptions, APIError, function_tool, llm
from livekit.agents.metrics import RealtimeModelMetrics, STTMetrics
from livekit.plugins import openai
from openai.types.realtime import AudioTranscription
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad

from loadtest.simulators.speech import PARTICIPANT, silence, synthesize

MODEL = "gpt-4o-realtime-preview"
RATE = 24_000
WITHIN_S = 8.0
VAD = ServerVad(
    type="server_vad",
    threshold=0.5,
    prefix_padding_ms=300,
    silence_duration_ms=400,
    create_response=True,
    interrupt_response=True,
)
PACE = ["--ttfa-ms", "20-40", "--speech-s", "0.8-1.2", "--speed", "20", "--turns-per-phase", "1"]
ANSWER = synthesize(seed=3, duration_ms=1200, sample_rate=RATE, voice=PARTICIPANT)

Event = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """A simulator process, its addresses and its control side."""

    process: subprocess.Popen[str]
    base_url: str
    control_url: str

    async def get(self, path: str) -> Any:
        async with httpx.AsyncClient() as http:
            return (await http.get(f"{self.control_url}{path}")).raise_for_status().json()

    async def post(self, path: str, **body: Any) -> Any:
        async with httpx.AsyncClient() as http:
            answer = await http.post(f"{self.control_url}{path}", json=body)
        return answer.raise_for_status().json()

    async def invoice(self, match: str) -> Event:
        (invoice,) = (await self.get(f"/invoices?match={match}"))["invoices"]
        return dict(invoice)


@contextmanager
def running(*arguments: str) -> Iterator[Simulator]:
    command = [sys.executable, "-m", "loadtest.simulators", "openai", *PACE, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            assert ready["ready"] is True
            assert ready["provider"] == "openai_realtime"
            yield Simulator(
                process=process, base_url=ready["base_url"], control_url=ready["control_url"]
            )
        finally:
            process.terminate()
            assert process.wait(10) == 0


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running() as started:
        yield started


@pytest.fixture
def marker(request: pytest.FixtureRequest) -> str:
    """Instructions nobody else has: invoices, faults and scripts are matched by them."""
    return f"case-{request.node.name}"


class Client:
    """The plugin's own session, with everything it heard and emitted."""

    def __init__(self, session: openai.realtime.RealtimeSession) -> None:
        self.session = session
        self.events: list[Event] = []
        self.metrics: list[RealtimeModelMetrics] = []
        self.transcription_metrics: list[STTMetrics] = []
        self.errors: list[llm.RealtimeModelError] = []
        self.generations: list[llm.GenerationCreatedEvent] = []
        self.reconnected = 0
        self._news = asyncio.Event()
        session.on("openai_server_event_received", self._heard)
        session.on("metrics_collected", self._measured)
        session.on("error", self._failed)
        session.on("generation_created", self._generated)
        session.on("session_reconnected", self._again)

    def _heard(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    def _measured(self, metrics: RealtimeModelMetrics | STTMetrics) -> None:
        if isinstance(metrics, STTMetrics):
            self.transcription_metrics.append(metrics)
        elif metrics.request_id:  # the one of the connection itself has none
            self.metrics.append(metrics)
        self._news.set()

    def _failed(self, error: llm.RealtimeModelError) -> None:
        self.errors.append(error)
        self._news.set()

    def _generated(self, generation: llm.GenerationCreatedEvent) -> None:
        self.generations.append(generation)
        self._news.set()

    def _again(self, _: object) -> None:
        self.reconnected += 1
        self._news.set()

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not true():
                self._news.clear()
                await self._news.wait()

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["type"] == kind]

    async def wait_for(self, kind: str, count: int = 1) -> Event:
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    async def done(self, count: int) -> Event:
        """The response of the `count`th `response.done`, its metrics emitted too."""
        await self.wait_for("response.done", count)
        await self.until(lambda: len(self.metrics) >= count)
        return dict(self.of("response.done")[count - 1]["response"])

    def hear(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), 4800):
            piece = pcm[at : at + 4800]
            self.session.push_audio(rtc.AudioFrame(piece, RATE, 1, len(piece) // 2))

    def answer(self, *, pause_ms: int = 900) -> None:
        self.hear(ANSWER + silence(duration_ms=pause_ms, sample_rate=RATE))


@asynccontextmanager
async def talking(simulator: Simulator, instructions: str, **options: Any) -> AsyncIterator[Client]:
    options = {
        "model": MODEL,
        "turn_detection": VAD,
        "input_audio_transcription": AudioTranscription(model="gpt-4o-mini-transcribe"),
        "conn_options": APIConnectOptions(max_retry=2, retry_interval=0.05, timeout=1.0),
        **options,
    }
    async with aiohttp.ClientSession() as http:
        model = openai.realtime.RealtimeModel(
            base_url=simulator.base_url, api_key="sk-test-0001", http_session=http, **options
        )
        client = Client(model.session())
        try:
            await client.session.update_instructions(instructions)
            yield client
        finally:
            # A session that broke is over already; closing it would raise its error once more.
            if not client.session._main_atask.done():
                await client.session.aclose()


async def spoken(generation: llm.GenerationCreatedEvent) -> tuple[str, float, list[str]]:
    """(text, seconds of audio, message ids) of all messages of a response."""
    text, samples, ids = "", 0, []
    async for message in generation.message_stream:
        ids.append(message.message_id)
        async for frame in message.audio_stream:
            samples += frame.samples_per_channel
        async for delta in message.text_stream:
            text += delta
    return text, samples / RATE, ids


async def called(generation: llm.GenerationCreatedEvent) -> list[llm.FunctionCall]:
    await spoken(generation)
    return [call async for call in generation.function_stream]


@function_tool
async def advance_phase(reason: str) -> str:
    """Go on to the next phase."""
    return reason


@function_tool
async def end_interview() -> str:
    """End the interview."""
    return ""


def assert_billed_as_measured(invoice: Event, client: Client) -> None:
    """Every response on the invoice is one that the plugin measured, token by token."""
    measured = {metrics.request_id: metrics for metrics in client.metrics}
    assert {line["response_id"] for line in invoice["responses"]} == set(measured)
    for line in invoice["responses"]:
        metrics, usage = measured[line["response_id"]], line["usage"]
        assert metrics.input_token_details.cached_tokens_details is not None
        assert {
            "input_text": metrics.input_token_details.text_tokens,
            "input_audio": metrics.input_token_details.audio_tokens,
            "cached_text": metrics.input_token_details.cached_tokens_details.text_tokens,
            "cached_audio": metrics.input_token_details.cached_tokens_details.audio_tokens,
            "output_text": metrics.output_token_details.text_tokens,
            "output_audio": metrics.output_token_details.audio_tokens,
        } == usage
        assert metrics.total_tokens == sum(
            usage[name] for name in ("input_text", "input_audio", "output_text", "output_audio")
        )


# -- the conversation ----------------------------------------------------------------------------


async def test_greeting_is_audible_and_billed_as_measured(
    simulator: Simulator, marker: str
) -> None:
    async with talking(simulator, marker) as client:
        generation = await client.session.generate_reply(instructions="Greet the participant.")
        text, seconds, _ = await spoken(generation)
        await client.done(1)
        invoice = await simulator.invoice(marker)

    assert generation.user_initiated
    assert len(text.split()) > 5
    assert 0.8 <= seconds <= 1.2
    assert_billed_as_measured(invoice, client)
    (line,) = invoice["responses"]
    # One token for 50 ms of speech, 80 and 20 dollars a million; the instructions in, at 5.
    assert line["usage"]["output_audio"] == -(-round(seconds * 1000) // 50)
    usage = line["usage"]
    assert line["pico_usd"] == 10**6 * (
        80 * usage["output_audio"] + 20 * usage["output_text"] + 5 * usage["input_text"]
    )
    assert client.metrics[0].ttft >= 0.02


async def test_speech_is_heard_transcribed_and_answered(simulator: Simulator, marker: str) -> None:
    async with talking(simulator, marker) as client:
        client.answer()
        await client.done(1)
        await client.wait_for("conversation.item.input_audio_transcription.completed")
        invoice = await simulator.invoice(marker)

    heard = [kind for kind in client.kinds() if kind.startswith(("input", "response.created"))]
    assert heard == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "response.created",
    ]
    started = client.of("input_audio_buffer.speech_started")[0]
    stopped = client.of("input_audio_buffer.speech_stopped")[0]
    billed_ms = stopped["audio_end_ms"] - started["audio_start_ms"]
    assert 1200 <= billed_ms <= 1800
    assert invoice["responses"][0]["usage"]["input_audio"] == -(-billed_ms // 100)
    assert_billed_as_measured(invoice, client)
    (transcription,) = invoice["transcriptions"]
    (metrics,) = client.transcription_metrics
    assert transcription["usage"]["input_tokens"] == metrics.input_tokens
    assert transcription["usage"]["output_tokens"] == metrics.output_tokens > 0
    assert invoice["total_pico_usd"] == sum(
        line["pico_usd"] for line in invoice["responses"] + invoice["transcriptions"]
    )
    roles = [item.role for item in client.session.chat_ctx.items if item.type == "message"]
    assert roles == ["user", "assistant"]


async def test_every_response_bills_the_whole_conversation_again(
    simulator: Simulator, marker: str
) -> None:
    async with talking(simulator, marker) as client:
        for count in (1, 2, 3):
            client.answer()
            await client.done(count)
        invoice = await simulator.invoice(marker)
    inputs = [line["usage"]["input_audio"] for line in invoice["responses"]]
    outputs = [line["usage"]["output_audio"] for line in invoice["responses"]]
    assert inputs[1] > inputs[0] + outputs[0]
    assert inputs[2] > inputs[1] + outputs[1]
    assert_billed_as_measured(invoice, client)


async def test_long_instructions_are_cached_from_the_second_response_on(
    simulator: Simulator, marker: str
) -> None:
    async with talking(simulator, f"{marker} {'Ask openly. ' * 500}") as client:
        for count in (1, 2):
            client.answer()
            await client.done(count)
        invoice = await simulator.invoice(marker)
    first, second = (line["usage"] for line in invoice["responses"])
    assert first["cached_text"] == 0
    cached = second["cached_text"] + second["cached_audio"]
    assert cached >= 1024
    assert cached % 64 == 0
    assert_billed_as_measured(invoice, client)


async def test_speaking_over_the_interviewer_cancels_it(simulator: Simulator, marker: str) -> None:
    await simulator.post("/scripts", match=marker, speech_s=[20, 20])
    async with talking(simulator, marker) as client:
        generation = await client.session.generate_reply()
        await client.wait_for("response.output_audio.delta", 2)
        client.answer()
        cut = await client.done(1)
        await client.done(2)
        _, seconds, _ = await spoken(generation)
        invoice = await simulator.invoice(marker)

    assert cut["status"] == "cancelled"
    assert cut["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert client.metrics[0].cancelled
    assert 0.4 <= seconds < 20
    assert invoice["responses"][0]["usage"]["output_audio"] == round(seconds * 20)
    assert invoice["responses"][0]["status"] == "cancelled"
    assert_billed_as_measured(invoice, client)


async def test_the_interviewer_is_not_interrupted_when_told_so(
    simulator: Simulator, marker: str
) -> None:
    patient = VAD.model_copy(update={"create_response": False, "interrupt_response": False})
    await simulator.post("/scripts", match=marker, speech_s=[4, 4])
    async with talking(simulator, marker, turn_detection=patient) as client:
        await client.session.generate_reply()
        await client.wait_for("response.output_audio.delta", 2)
        client.answer()
        await client.wait_for("input_audio_buffer.committed")
        assert (await client.done(1))["status"] == "completed"
        await client.wait_for("conversation.item.input_audio_transcription.completed")
        assert len(client.of("response.created")) == 1


async def test_interrupt_cancels_and_a_second_one_is_harmless(
    simulator: Simulator, marker: str
) -> None:
    await simulator.post("/scripts", match=marker, speech_s=[20, 20])
    async with talking(simulator, marker) as client:
        await client.session.generate_reply()
        await client.wait_for("response.output_audio.delta")
        client.session.interrupt()
        cut = await client.done(1)
        client.session.send_event({"type": "response.cancel"})
        refused = await client.wait_for("error")
        invoice = await simulator.invoice(marker)
    assert cut["status_details"]["reason"] == "client_cancelled"
    assert refused["error"]["code"] == "response_cancel_not_active"
    assert not client.errors
    assert_billed_as_measured(invoice, client)


async def test_unheard_speech_leaves_the_context(simulator: Simulator, marker: str) -> None:
    async with talking(simulator, marker) as client:
        generation = await client.session.generate_reply()
        _, _, (message_id,) = await spoken(generation)
        await client.done(1)
        client.session.truncate(
            message_id=message_id, modalities=["audio", "text"], audio_end_ms=500
        )
        truncated = await client.wait_for("conversation.item.truncated")
        await client.session.generate_reply()
        await client.done(2)
        invoice = await simulator.invoice(marker)
    assert truncated["audio_end_ms"] == 500
    first, second = (line["usage"] for line in invoice["responses"])
    assert first["output_audio"] > 10
    assert second["input_audio"] == 10
    assert second["input_text"] == first["input_text"]


async def test_a_phase_is_advanced_by_a_call_and_its_result(
    simulator: Simulator, marker: str
) -> None:
    async with talking(simulator, marker) as client:
        await client.session.update_tools([advance_phase, end_interview])
        await spoken(await client.session.generate_reply())
        client.answer()
        await client.until(lambda: len(client.generations) == 2)
        (call,) = await called(client.generations[1])
        assert call.name == "advance_phase"
        assert list(json.loads(call.arguments)) == ["reason"]
        context = client.session.chat_ctx
        context.items.append(
            llm.FunctionCallOutput(
                call_id=call.call_id, name=call.name, output="Phase two.", is_error=False
            )
        )
        await client.session.update_chat_ctx(context)
        after = await client.session.generate_reply(tool_choice="auto")
        text, _, _ = await spoken(after)
        await client.done(3)
        (live,) = (await simulator.get(f"/sessions?match={marker}"))["sessions"]
        invoice = await simulator.invoice(marker)
    assert text
    assert [call async for call in after.function_stream] == []
    assert live["phase"] == 1
    assert_billed_as_measured(invoice, client)
    assert not client.errors


async def test_the_last_phase_ends_in_a_goodbye(simulator: Simulator, marker: str) -> None:
    async with talking(simulator, marker) as client:
        await client.session.update_tools([advance_phase])
        client.answer()
        await client.until(lambda: client.generations)
        (call,) = await called(client.generations[0])
        context = client.session.chat_ctx
        context.items.append(
            llm.FunctionCallOutput(
                call_id=call.call_id, name=call.name, output="[closing] Bye.", is_error=False
            )
        )
        await client.session.update_chat_ctx(context)
        text, _, _ = await spoken(await client.session.generate_reply())
    assert "goodbye" in text.lower()


async def test_new_instructions_are_obeyed_at_once(simulator: Simulator, marker: str) -> None:
    async with talking(simulator, marker) as client:
        await client.session.update_tools([end_interview])
        await spoken(await client.session.generate_reply())
        await client.session.update_instructions(f"{marker} [wrap-up] Time is nearly over.")
        generation = await client.session.generate_reply()
        (call,) = await called(generation)
        await client.session.update_instructions(f"{marker} [closing]")
        text, _, _ = await spoken(await client.session.generate_reply())
        shown = client.of("session.updated")[-1]["session"]
    assert call.name == "end_interview"
    assert "goodbye" in text.lower()
    assert shown["instructions"] == f"{marker} [closing]"
    assert [tool["name"] for tool in shown["tools"]] == ["end_interview"]


async def test_a_disobedient_interviewer_talks_on(simulator: Simulator, marker: str) -> None:
    await simulator.post("/scripts", match=marker, disobey=True)
    async with talking(simulator, f"{marker} [wrap-up]") as client:
        await client.session.update_tools([advance_phase, end_interview])
        client.answer()
        await client.until(lambda: client.generations)
        assert await called(client.generations[0]) == []


async def test_a_cap_cuts_the_response_short(simulator: Simulator, marker: str) -> None:
    async with talking(simulator, marker) as client:
        client.session.update_options(max_response_output_tokens=15)
        await spoken(await client.session.generate_reply())
        cut = await client.done(1)
        invoice = await simulator.invoice(marker)
    assert cut["status"] == "incomplete"
    assert cut["status_details"]["reason"] == "max_output_tokens"
    usage = invoice["responses"][0]["usage"]
    assert 10 <= usage["output_text"] + usage["output_audio"] <= 15


async def test_manual_turns_wait_for_the_client(simulator: Simulator, marker: str) -> None:
    async with talking(simulator, marker, turn_detection=None) as client:
        client.answer()
        client.session.commit_audio()
        await client.wait_for("input_audio_buffer.committed")
        await spoken(await client.session.generate_reply())
        await client.done(1)
        invoice = await simulator.invoice(marker)
    assert not client.of("input_audio_buffer.speech_started")
    assert invoice["responses"][0]["usage"]["input_audio"] == 21


async def test_one_response_at_a_time(simulator: Simulator, marker: str) -> None:
    async with talking(simulator, marker) as client:
        first = client.session.generate_reply()
        second = client.session.generate_reply()
        with pytest.raises(llm.RealtimeError) as caught:
            await second
        await spoken(await first)
        assert (await client.done(1))["status"] == "completed"
    assert caught.value.code == "conversation_already_has_active_response"


async def test_text_only_sessions_cost_no_audio(simulator: Simulator, marker: str) -> None:
    async with talking(simulator, marker, modalities=["text"]) as client:
        generation = await client.session.generate_reply()
        text = ""
        async for message in generation.message_stream:
            text = "".join([delta async for delta in message.text_stream])
        await client.done(1)
        invoice = await simulator.invoice(marker)
    assert text
    assert invoice["responses"][0]["usage"]["output_audio"] == 0
    assert_billed_as_measured(invoice, client)


# -- faults --------------------------------------------------------------------------------------


async def test_a_drop_mid_response_is_billed_and_the_context_replayed(
    simulator: Simulator, marker: str
) -> None:
    async with talking(simulator, marker) as client:
        await spoken(await client.session.generate_reply())
        await client.done(1)
        await simulator.post("/faults", kind="drop_mid_response", match=marker)
        await client.session.generate_reply()
        await client.until(lambda: client.reconnected)
        await spoken(await client.session.generate_reply())
        await client.done(2)
        invoices = (await simulator.get(f"/invoices?match={marker}"))["invoices"]
    first, second = invoices
    assert first["closed_at"] is not None
    lost = first["responses"][1]
    assert (lost["status"], lost["usage_sent"]) == ("cancelled", False)
    assert lost["usage"]["output_audio"] > 0
    assert lost["pico_usd"] > 0
    # The greeting comes back as text: assistant audio cannot be restored.
    assert (
        second["responses"][0]["usage"]["input_text"] > first["responses"][0]["usage"]["input_text"]
    )


async def test_no_usage_is_billed_all_the_same(simulator: Simulator, marker: str) -> None:
    await simulator.post("/faults", kind="no_usage", match=marker)
    async with talking(simulator, marker) as client:
        await client.session.generate_reply()
        done = await client.done(1)
        invoice = await simulator.invoice(marker)
    assert done["usage"] is None
    assert client.metrics[0].total_tokens == 0
    (line,) = invoice["responses"]
    assert line["usage_sent"] is False
    assert line["pico_usd"] > 0


async def test_spent_quota_ends_the_session_for_good(simulator: Simulator, marker: str) -> None:
    await simulator.post("/faults", kind="insufficient_quota", match=marker, count=None)
    async with talking(simulator, marker) as client:
        await client.session.generate_reply()
        await client.until(lambda: client.errors)
        await client.until(lambda: client.metrics)
        with pytest.raises(APIError, match="insufficient_quota"):
            await client.session._main_atask
        invoice = await simulator.invoice(marker)
    (error,) = client.errors
    assert not error.recoverable
    assert client.of("response.done")[0]["response"]["status"] == "failed"
    assert invoice["total_pico_usd"] == 0


async def test_a_malformed_event_breaks_the_plugin_s_session(
    simulator: Simulator, marker: str
) -> None:
    await simulator.post("/faults", kind="malformed_event", match=marker)
    async with talking(simulator, marker) as client:
        await client.session.generate_reply()
        await client.until(lambda: client.errors)
        with pytest.raises(json.JSONDecodeError):
            await client.session._main_atask
    assert not client.errors[0].recoverable


async def test_a_slow_answer_is_slow(simulator: Simulator, marker: str) -> None:
    await simulator.post("/faults", kind="slow", match=marker, params={"ttfa_ms": 400, "speed": 20})
    async with talking(simulator, marker) as client:
        await spoken(await client.session.generate_reply())
        await client.done(1)
    assert client.metrics[0].ttft >= 0.4


@pytest.mark.parametrize("kind", ["http_429", "refuse", "never_answer"])
async def test_a_refused_handshake_is_tried_again(
    simulator: Simulator, marker: str, kind: str
) -> None:
    model = "gpt-realtime-mini-2025-10-06"
    await simulator.post("/faults", kind=kind, match=model)
    async with talking(simulator, marker, model=model) as client:
        await spoken(await client.session.generate_reply())
        await client.done(1)
    (error,) = client.errors
    assert error.recoverable
    assert (await simulator.get("/stats"))["faults_struck"][kind] == 1


async def test_a_dropped_connection_is_replaced(simulator: Simulator, marker: str) -> None:
    async with talking(simulator, marker) as client:
        await client.wait_for("session.updated", 2)
        (live,) = (await simulator.get(f"/sessions?match={marker}"))["sessions"]
        await simulator.post(f"/sessions/{live['session_id']}/drop")
        await client.until(lambda: client.reconnected)
        await client.wait_for("session.created", 2)
        await spoken(await client.session.generate_reply())


# -- the wire ------------------------------------------------------------------------------------


class Wire:
    """A raw WebSocket with the JSON of the protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send_json({"type": kind, **fields})

    async def receive(self, kind: str) -> Event:
        async with asyncio.timeout(WITHIN_S):
            while True:
                event: Event = await self.socket.receive_json()
                if event["type"] == kind:
                    return event

    async def closed(self) -> int | None:
        async with asyncio.timeout(WITHIN_S):
            async for _ in self.socket:
                pass
        return self.socket.close_code


@asynccontextmanager
async def wire(
    simulator: Simulator, *, model: str = MODEL, headers: dict[str, str] | None = None
) -> AsyncIterator[Wire]:
    headers = {"Authorization": "Bearer sk-test-0002", **(headers or {})}
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{simulator.base_url}/realtime?model={model}", headers=headers) as socket,
    ):
        yield Wire(socket)


@pytest.mark.parametrize(
    ("headers", "code"), [({}, None), ({"Authorization": "Bearer invalid"}, "invalid_api_key")]
)
async def test_a_key_is_required(
    simulator: Simulator, headers: dict[str, str], code: str | None
) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{simulator.base_url}/realtime?model={MODEL}", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"headers": {"OpenAI-Beta": "realtime=v1"}}, "beta_api_shape_disabled"),
        ({"model": "gpt-imaginary"}, "model_not_found"),
    ],
)
async def test_what_the_service_refuses_after_the_handshake(
    simulator: Simulator, options: dict[str, Any], code: str
) -> None:
    async with wire(simulator, **options) as raw:
        assert (await raw.receive("error"))["error"]["code"] == code
        assert await raw.closed() == 4000


async def test_errors_name_the_client_s_event_and_leave_the_session_open(
    simulator: Simulator,
) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"type": "session.update", "session": {"modalities": []}}, "missing_required_parameter"),
        (
            {"type": "session.update", "session": {"type": "realtime", "voice": "x"}},
            "unknown_parameter",
        ),
        ({"type": "response.create", "response": {"loud": True}}, "unknown_parameter"),
        ({"type": "response.cancel"}, "response_cancel_not_active"),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty"),
        ({"type": "input_audio_buffer.append", "audio": "?"}, "invalid_value"),
        ({"type": "conversation.item.delete", "item_id": "x"}, "item_delete_invalid_item_id"),
        ({"type": "conversation.item.retrieve", "item_id": "x"}, "item_retrieve_invalid_item_id"),
        ({"type": "dance"}, "invalid_value"),
    ]
    async with wire(simulator) as raw:
        for number, (event, code) in enumerate(cases):
            await raw.socket.send_json({**event, "event_id": f"mine_{number}"})
            error = (await raw.receive("error"))["error"]
            assert (error["code"], error["event_id"]) == (code, f"mine_{number}")
        await raw.socket.send_str("{")
        assert (await raw.receive("error"))["error"]["code"] == "invalid_json"
        await raw.send("input_audio_buffer.clear")
        await raw.receive("input_audio_buffer.cleared")


async def test_items_are_created_retrieved_and_deleted(simulator: Simulator) -> None:
    hello = {
        "type": "message",
        "id": "item_hello",
        "role": "user",
        "content": [{"type": "input_text", "text": "Hello"}],
    }
    async with wire(simulator) as raw:
        for previous in (None, "root"):
            item = {**hello, "id": "item_first"} if previous else hello
            await raw.send("conversation.item.create", item=item, previous_item_id=previous)
            added = await raw.receive("conversation.item.added")
            assert added["previous_item_id"] is None
            assert added["item"]["status"] == "completed"
            await raw.receive("conversation.item.done")
        await raw.send("conversation.item.create", item=hello)
        assert (await raw.receive("error"))["error"]["code"] == "item_create_duplicate_item_id"
        await raw.send("conversation.item.retrieve", item_id="item_hello")
        assert (await raw.receive("conversation.item.retrieved"))["item"]["content"][0][
            "text"
        ] == "Hello"
        await raw.send("conversation.item.delete", item_id="item_hello")
        assert (await raw.receive("conversation.item.deleted"))["item_id"] == "item_hello"


async def test_a_response_out_of_band_runs_beside_the_conversation(simulator: Simulator) -> None:
    question = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "Is it raining?"}],
    }
    async with wire(simulator) as raw:
        await raw.send("response.create")
        first = (await raw.receive("response.created"))["response"]
        await raw.send(
            "response.create",
            response={
                "conversation": "none",
                "metadata": {"topic": "weather"},
                "output_modalities": ["text"],
                "input": [question],
            },
        )
        second = (await raw.receive("response.created"))["response"]
        done = [(await raw.receive("response.done"))["response"] for _ in range(2)]
    assert second["metadata"] == {"topic": "weather"}
    assert (first["conversation_id"] is None, second["conversation_id"]) == (False, None)
    assert {response["status"] for response in done} == {"completed"}
    assert {response["id"] for response in done} == {first["id"], second["id"]}


# -- the process ---------------------------------------------------------------------------------


async def test_a_session_expires_at_its_limit() -> None:
    with running("--session-limit-s", "0.3") as limited:
        async with wire(limited) as raw:
            error = (await raw.receive("error"))["error"]
            assert error["code"] == "session_expired"
            assert "maximum duration of 0.005 minutes" in error["message"]
            assert await raw.closed() == 1001
        stats = await limited.get("/stats")
        assert (stats["sessions_expired"], stats["sessions_live"]) == (1, 0)


async def test_control_refuses_what_it_does_not_know(simulator: Simulator) -> None:
    async with httpx.AsyncClient(base_url=simulator.control_url) as http:
        for path, body in (
            ("/faults", {"kind": "earthquake"}),
            ("/faults", {"kind": "go_away"}),
            ("/faults", {"kind": "slow", "when": "now"}),
            ("/scripts", {"turns_per_phase": 1}),
            ("/scripts", {"match": "x", "volume": 1}),
        ):
            answer = await http.post(path, json=body)
            assert answer.status_code == 400, path
            assert answer.json()["error"]
        assert (await http.post("/faults", content="{")).status_code == 400
        assert (await http.get("/invoices/sess_none")).status_code == 404
        assert (await http.post("/sessions/sess_none/drop")).status_code == 404
        assert (await http.get("/healthz")).json() == {"ok": True, "provider": "openai_realtime"}


def test_it_ends_when_its_parent_does() -> None:
    command = [sys.executable, "-m", "loadtest.simulators", "openai", "--parent-pid-watch"]
    parent = (
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen({command!r}, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child = os.pidfd_open(int(process.stdout.readline()))
        try:
            process.send_signal(signal.SIGKILL)
            process.wait(5)
            ended, _, _ = select.select([child], [], [], 5)
            assert ended
        finally:
            os.close(child)
