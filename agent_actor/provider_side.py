"""A session's side towards its provider: the model that speaks, its connection, and its costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

from livekit import rtc

from agent_actor.contract import Provider, SessionConfig
from agent_actor.messages import Assignment
from agent_actor.pricing import Rate, RateTable
from agent_actor.provider_link import ProviderLink
from agent_actor.providers.base import Connected, Disconnected, ProviderModel, WireTaps
from agent_actor.providers.factory import build_provider, is_capped, new_meter, new_wire
from agent_actor.providers.openai import TRANSCRIPTION_MODEL
from agent_actor.rates import load_rates
from agent_actor.recorder import Recorder
from agent_actor.session_trace import SessionTrace
from agent_actor.settings import AgentSettings
from agent_actor.signals import Broken, Signal, TurnToAnswer
from agent_actor.spending import AskBudget, Spending


@dataclass(frozen=True, kw_only=True)
class ProviderSide:
    provider: ProviderModel
    link: ProviderLink
    spending: Spending


@dataclass(frozen=True, kw_only=True)
class ProviderSideParts:
    """What it is made of, and whom it tells. ``signal`` takes what the session has to follow."""

    assignment: Assignment
    settings: AgentSettings
    recorder: Recorder
    trace: SessionTrace
    ask_budget: AskBudget
    signal: Callable[[Signal], None]
    on_back: Callable[[Connected, Disconnected], None]
    on_heard: Callable[[rtc.AudioFrame], None]
    opened: Callable[[str], Awaitable[Any | None]]
    """See ``WireTaps``."""


def provider_side(config: SessionConfig, parts: ProviderSideParts) -> ProviderSide:
    """For this session's contract. Nothing is connected yet. Raises AgentError for a model without
    a rate, or without a key."""
    settings = parts.settings
    rates = load_rates(settings.rates_path, settings.model_aliases, settings.unpriced_models)
    today = datetime.now(UTC).date()
    rate = rates.rate_for(config.provider.value, config.model, today)
    floor = _Floor()
    spending = _spending(config, parts, rates, rate, today, floor)
    link = ProviderLink(
        recorder=parts.recorder,
        spending=spending,
        patience_s=settings.fallback_after_s if config.fallback else settings.provider_outage_s,
        on_back=parts.on_back,
        on_failed=lambda error: parts.signal(Broken(error=error)),
    )
    taps = WireTaps(
        permit=spending.permit,
        may_hear=spending.may_hear,
        server=spending.server_event,
        client=spending.client_event,
        connected=link.connected,
        disconnected=link.disconnected,
        heard=parts.on_heard,
        opened=parts.opened,
    )
    floor.provider = build_provider(config, settings, rate.model, taps)
    return ProviderSide(provider=floor.provider, link=link, spending=spending)


class _Floor:
    """What the money has to say about turns, to a provider that is built after it: its taps are the
    money's."""

    provider: ProviderModel | None = None

    def take_turns(self, by_server: bool) -> None:
        if self.provider is not None:
            self.provider.take_turns(by_server)

    def listen(self) -> None:
        if self.provider is not None:
            self.provider.listen()


def _spending(
    config: SessionConfig,
    parts: ProviderSideParts,
    rates: RateTable,
    rate: Rate,
    today: date,
    floor: _Floor,
) -> Spending:
    transcription = None
    if config.transcribe and config.provider is Provider.OPENAI_REALTIME:
        transcription = rates.transcription_rate_for(TRANSCRIPTION_MODEL, today)
    return Spending(
        assignment=parts.assignment,
        meter=new_meter(config.provider, parts.settings, rate, transcription),
        capped=is_capped(config.provider),
        new_wire=partial(new_wire, config.provider),
        report_interval_s=parts.settings.report_interval_s,
        ask_budget=parts.ask_budget,
        record=parts.recorder.record,
        on_verdict=parts.signal,
        on_turn=lambda: parts.signal(TurnToAnswer()),
        take_turns=floor.take_turns,
        listen=floor.listen,
        on_answer=lambda answer: parts.trace.answered(answer, config.provider, rate.model),
    )
