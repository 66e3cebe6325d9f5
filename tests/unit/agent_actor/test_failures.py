from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from google.genai import errors as genai_errors
from livekit.agents import APIConnectionError, APIError, APIStatusError, llm
from livekit.plugins import openai
from livekit.plugins.google.realtime import realtime_api as google
from multidict import CIMultiDict, CIMultiDictProxy
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.frames import Close
from websockets.http11 import Response
from yarl import URL

from agent_actor.errors import ProviderRefused, ProviderUnavailable
from agent_actor.providers.failures import classify, is_late


def handshake(status: int) -> aiohttp.WSServerHandshakeError:
    url = URL("http://127.0.0.1/v1/realtime")
    request = aiohttp.RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict()), url)
    return aiohttp.WSServerHandshakeError(request, (), status=status, message="no")


def rejected(status: int) -> InvalidStatus:
    return InvalidStatus(Response(status, "no", Headers()))


def closed(code: int, reason: str) -> ConnectionClosedError:
    return ConnectionClosedError(Close(code, reason), None)


def gemini(code: int, reason: str) -> genai_errors.APIError:
    return genai_errors.APIError(code, {"error": {"message": reason}})


def told(code: str, message: str) -> APIError:
    """An event of OpenAI's as the plugin wraps it: its code is in the body alone."""
    body = SimpleNamespace(code=code, message=message)
    return APIError("OpenAI Realtime API returned an error", body=body, retryable=True)


def wrapped(cause: BaseException) -> BaseException:
    outer = APIConnectionError("connection failed after 3 attempts")
    outer.__cause__ = cause
    return outer


REFUSED: dict[str, BaseException] = {
    "openai key": handshake(401),
    "openai forbidden": handshake(403),
    "openai quota event": told("insufficient_quota", "You exceeded your quota."),
    "openai model": told("model_not_found", "no such model"),
    "plugin says it is final": APIError("settings refused: voice", retryable=False),
    "status error": APIStatusError("no", status_code=404),
    "gemini key": gemini(1007, "API key not valid. Please pass a valid API key."),
    "gemini policy": gemini(1008, "model is not supported"),
    "gemini quota": gemini(1011, "You exceeded your current quota, please check your plan."),
    "gemini handshake": rejected(403),
    "gemini close": closed(1007, "invalid argument"),
}
UNAVAILABLE: dict[str, BaseException] = {
    "openai overloaded": handshake(503),
    "openai rate limit": handshake(429),
    "openai event": told("server_error", "try again"),
    "dropped": APIConnectionError("connection closed unexpectedly"),
    "gemini overloaded": rejected(503),
    "gemini rate limit": rejected(429),
    "gemini internal": gemini(1011, "Internal error encountered."),
    "gemini aborted": ConnectionClosedError(None, None),
    "gemini going away": closed(1001, "going away"),
    "timeout": TimeoutError(),
    "a number that looks like a close code": APIConnectionError("resp_1007 gone after 1008 ms"),
}


@pytest.mark.parametrize("error", REFUSED.values(), ids=REFUSED)
def test_refusal_is_found_also_where_the_plugin_has_wrapped_it(error: BaseException) -> None:
    for given in (error, wrapped(error), wrapped(wrapped(error))):
        found = classify(given)
        assert isinstance(found, ProviderRefused)
        assert not found.retryable


@pytest.mark.parametrize("error", UNAVAILABLE.values(), ids=UNAVAILABLE)
def test_what_may_pass_is_no_refusal(error: BaseException) -> None:
    for given in (error, wrapped(error)):
        found = classify(given)
        assert isinstance(found, ProviderUnavailable)
        assert found.retryable


def test_text_is_one_line_with_the_provider_s_own_words() -> None:
    found = classify(told("insufficient_quota", "Pay first.\nSee the docs."))
    assert str(found) == (
        "APIError: OpenAI Realtime API returned an error (insufficient_quota: Pay first."
    )
    assert len(str(classify(APIConnectionError("x" * 1000)))) == 300


def test_no_error_is_a_session_that_closed() -> None:
    assert str(classify(None)) == "the provider's session closed"


def test_circle_of_causes_ends() -> None:
    one: Any = APIConnectionError("one")
    two = APIConnectionError("two")
    one.__cause__, two.__cause__ = two, one
    assert isinstance(classify(one), ProviderUnavailable)


@pytest.mark.parametrize("session", [openai.realtime.RealtimeSession, google.RealtimeSession])
def test_what_the_plugins_say_of_a_response_that_did_not_begin_is_known(session: type) -> None:
    source = inspect.getsource(vars(session)["generate_reply"])
    told = next(line for line in source.splitlines() if "timed out" in line)
    assert is_late(llm.RealtimeError(told.partition('"')[2]))
    assert not is_late(llm.RealtimeError("no money for this response"))
    assert not is_late(None)
