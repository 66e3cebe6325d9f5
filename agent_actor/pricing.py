"""What models cost: a dated table, exact to the pico-dollar (10**-12 USD). Pure.

Prices are decimal strings in USD, as price lists give them, and are whole in pico-dollars per
token; a table in which one is not is refused, so no sum of prices is ever rounded. A bare model
name stands for a dated one only where the table says so. Nothing is guessed from a name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from agent_actor.errors import ModelRetired, ModelUnpriced
from agent_actor.messages import PicoUsd, TokenCounts

PICO_PER_USD = 10**12
_PRICES = ("text_in", "text_cached", "text_out", "audio_in", "audio_cached", "audio_out")

_HIGHEST = (
    *_PRICES,
    "image_in",
    "image_cached",
    "context_tokens",
    "max_output_tokens",
    "user_audio_tokens_per_s",
    "agent_audio_tokens_per_s",
)


class RatesInvalid(ValueError):
    """A rate table that cannot be used; says which row and why."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """One model's prices, in pico-dollars per token, and the sizes that bound a response."""

    provider: str
    model: str
    """The dated name: what to ask the provider for."""
    since: date
    source: str
    text_in: int
    text_cached: int
    text_out: int
    audio_in: int
    audio_cached: int
    audio_out: int
    image_in: int
    """The dearest input price where the list has none for images."""
    image_cached: int
    context_tokens: int
    """Largest input of one response."""
    max_output_tokens: int
    user_audio_tokens_per_s: int
    agent_audio_tokens_per_s: int
    retired: date | None = None
    """First day on which the provider no longer took it."""
    successor: str | None = None
    shutdown_on: date | None = None
    """Announced, for a warning. Becomes ``retired`` when it has come true."""
    bound: bool = False
    """Not this model's price, which is unknown, but the dearest of its provider."""

    def price(self, tokens: TokenCounts, *, input_image: int = 0, cached_image: int = 0) -> PicoUsd:
        """Exactly what these tokens cost. ``cached_*`` are part of ``input_*``."""
        t = tokens
        return PicoUsd(
            (t.input_text - t.cached_text) * self.text_in
            + t.cached_text * self.text_cached
            + (t.input_audio - t.cached_audio) * self.audio_in
            + t.cached_audio * self.audio_cached
            + (input_image - cached_image) * self.image_in
            + cached_image * self.image_cached
            + t.output_text * self.text_out
            + t.output_audio * self.audio_out
        )

    @property
    def dearest_output(self) -> int:
        return max(self.text_out, self.audio_out)


@dataclass(frozen=True, kw_only=True)
class TranscriptionRate:
    """Input transcription is billed apart, by tokens or by the minute (then ``per_minute``)."""

    model: str
    since: date
    source: str
    audio_in: int = 0
    text_in: int = 0
    text_out: int = 0
    per_minute: int | None = None
    max_output_tokens: int = 0
    user_audio_tokens_per_s: int = 0
    shutdown_on: date | None = None

    def price_tokens(self, *, audio: int, text: int, output: int) -> PicoUsd:
        return PicoUsd(audio * self.audio_in + text * self.text_in + output * self.text_out)

    def price_duration(self, ms: int) -> PicoUsd:
        """Rounded up to a whole pico-dollar. A token-priced model gets its upper bound."""
        if self.per_minute is not None:
            return PicoUsd(-(-ms * self.per_minute // 60_000))
        audio = -(-ms * self.user_audio_tokens_per_s // 1000)
        return self.price_tokens(audio=audio, text=0, output=self.max_output_tokens)


_Row = TypeVar("_Row", Rate, TranscriptionRate)
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class RateTable:
    """Every known price. ``aliases`` are the operator's and apply before the table's own."""

    rates: Mapping[tuple[str, str], tuple[Rate, ...]]
    """By (provider, dated model), oldest first."""
    transcription: Mapping[str, tuple[TranscriptionRate, ...]]
    resolve: Mapping[tuple[str, str], str]
    defaults: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)
    bounds_unpriced: bool = False
    """A model without a rate gets its provider's dearest instead of being refused."""

    @classmethod
    def parse(cls, text: str) -> RateTable:
        """Raises RatesInvalid naming the row."""
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise RatesInvalid(f"not TOML: {error}") from None
        rates = _grouped([_rate(row) for row in data.get("rate", [])], _rate_key)
        transcription = _grouped(
            [_transcription(row) for row in data.get("transcription", [])], lambda r: r.model
        )
        resolve = {
            (provider, bare): str(dated)
            for provider, names in data.get("resolve", {}).items()
            for bare, dated in names.items()
        }
        for (provider, bare), dated in resolve.items():
            if (provider, dated) not in rates and dated not in transcription:
                raise RatesInvalid(f"resolve.{provider}: {bare} stands for {dated}, no such row")
        defaults = {str(k): str(v) for k, v in data.get("defaults", {}).items()}
        return cls(rates=rates, transcription=transcription, resolve=resolve, defaults=defaults)

    def with_aliases(self, aliases: Mapping[str, str]) -> RateTable:
        """The same table with an operator's names for models (name → a name of the table)."""
        return replace(self, aliases={**self.aliases, **aliases})

    def with_upper_bounds(self) -> RateTable:
        """The same table that refuses no model of a provider it knows, see ``Rate.bound``."""
        return replace(self, bounds_unpriced=True)

    def default_model(self, provider: str) -> str:
        """For a contract that names none. Raises ModelUnpriced."""
        if provider not in self.defaults:
            raise ModelUnpriced(f"no default model for {provider} in the rate table")
        return self.defaults[provider]

    def rate_for(self, provider: str, model: str | None, on: date) -> Rate:
        """Raises ModelUnpriced (no row in force on that day) or ModelRetired (names a successor).

        ``Rate.model`` is the name to ask the provider for.
        """
        asked = model or self.default_model(provider)
        name = self._dated(provider, asked)
        rate = _in_force(self.rates.get((provider, name), ()), on)
        if rate is None and self.bounds_unpriced:
            rate = self._dearest(provider, name, on)
        if rate is None:
            raise ModelUnpriced(f"no rate for {provider} model {asked} on {on}")
        if rate.retired is not None and on >= rate.retired:
            instead = f", use {rate.successor}" if rate.successor else ""
            raise ModelRetired(f"{provider} model {asked} was retired on {rate.retired}{instead}")
        return rate

    def transcription_rate_for(self, model: str, on: date) -> TranscriptionRate:
        """Raises ModelUnpriced."""
        rate = _in_force(self.transcription.get(self.aliases.get(model, model), ()), on)
        if rate is None:
            raise ModelUnpriced(f"no rate for transcription model {model} on {on}")
        return rate

    def _dearest(self, provider: str, model: str, on: date) -> Rate | None:
        """Every price and size the highest that any model of the provider has; a model that is
        retired counts too. None: the provider has no rate at all.
        """
        rows = [_in_force(rows, on) for (p, _), rows in self.rates.items() if p == provider]
        known = [row for row in rows if row is not None]
        if not known:
            return None
        highest: dict[str, Any] = {n: max(getattr(row, n) for row in known) for n in _HIGHEST}
        return Rate(
            provider=provider,
            model=model,
            since=on,
            source=f"no rate for {model}: the dearest prices of {provider}",
            bound=True,
            **highest,
        )

    def _dated(self, provider: str, model: str) -> str:
        # Google writes "models/x" and "x" for the same model.
        name = model.removeprefix("models/")
        name = self.aliases.get(name, name)
        return self.resolve.get((provider, name), name)


def pico_per_token(usd_per_million: str) -> int:
    """Exactly. Raises ValueError for a price that is negative or not whole in pico-dollars."""
    return _whole(_decimal(usd_per_million) * PICO_PER_USD / 1_000_000, usd_per_million)


def pico_per_minute(usd: str) -> int:
    return _whole(_decimal(usd) * PICO_PER_USD, usd)


def _decimal(text: str) -> Decimal:
    if not isinstance(text, str):
        raise ValueError(f"{text!r} must be a decimal string")
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None


def _whole(pico: Decimal, text: str) -> int:
    if not pico.is_finite() or pico < 0 or pico != int(pico):
        raise ValueError(f"{text} USD is not a whole, non-negative number of pico-dollars")
    return int(pico)


def _rate_key(rate: Rate) -> tuple[str, str]:
    return rate.provider, rate.model


def _rate(row: dict[str, Any]) -> Rate:
    try:
        prices: dict[str, Any] = {
            name: pico_per_token(row[name])
            for name in _PRICES
            if name in row or not name.endswith("_cached")
        }
        prices["text_cached"] = prices.get("text_cached", prices["text_in"])
        prices["audio_cached"] = prices.get("audio_cached", prices["audio_in"])
        dearest = max(prices["text_in"], prices["audio_in"])
        image_in = pico_per_token(row["image_in"]) if "image_in" in row else dearest
        cached = pico_per_token(row["image_cached"]) if "image_cached" in row else image_in
        return Rate(
            provider=row["provider"],
            model=row["model"],
            since=_day(row, "since"),
            source=_source(row),
            image_in=image_in,
            image_cached=cached,
            context_tokens=_size(row, "context_tokens"),
            max_output_tokens=_size(row, "max_output_tokens"),
            user_audio_tokens_per_s=_size(row, "user_audio_tokens_per_s"),
            agent_audio_tokens_per_s=_size(row, "agent_audio_tokens_per_s"),
            retired=_day(row, "retired") if "retired" in row else None,
            successor=row.get("successor"),
            shutdown_on=_day(row, "shutdown_on") if "shutdown_on" in row else None,
            **prices,
        )
    except (KeyError, ValueError) as error:
        raise _bad_row("rate", row, error) from None


def _transcription(row: dict[str, Any]) -> TranscriptionRate:
    try:
        common: dict[str, Any] = {
            "model": row["model"],
            "since": _day(row, "since"),
            "source": _source(row),
            "shutdown_on": _day(row, "shutdown_on") if "shutdown_on" in row else None,
        }
        if "per_minute" in row:
            return TranscriptionRate(per_minute=pico_per_minute(row["per_minute"]), **common)
        return TranscriptionRate(
            audio_in=pico_per_token(row["audio_in"]),
            text_in=pico_per_token(row["text_in"]),
            text_out=pico_per_token(row["text_out"]),
            max_output_tokens=_size(row, "max_output_tokens"),
            user_audio_tokens_per_s=_size(row, "user_audio_tokens_per_s"),
            **common,
        )
    except (KeyError, ValueError) as error:
        raise _bad_row("transcription", row, error) from None


def _bad_row(kind: str, row: dict[str, Any], error: Exception) -> RatesInvalid:
    what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
    return RatesInvalid(f"{kind} {row.get('model', '?')}: {what}")


def _source(row: dict[str, Any]) -> str:
    source = row["source"]
    if not isinstance(source, str) or not source.strip():
        raise ValueError("source must say where the price was read, and when")
    return source


def _day(row: dict[str, Any], name: str) -> date:
    if type(row[name]) is not date:
        raise ValueError(f"{name} must be a date")
    return date(row[name].year, row[name].month, row[name].day)


def _size(row: dict[str, Any], name: str) -> int:
    if type(row[name]) is not int or row[name] <= 0:
        raise ValueError(f"{name} must be a positive integer")
    return int(row[name])


def _grouped(rows: list[_Row], key: Callable[[_Row], _Key]) -> dict[_Key, tuple[_Row, ...]]:
    found: dict[_Key, list[_Row]] = {}
    for row in sorted(rows, key=lambda r: r.since):
        same = found.setdefault(key(row), [])
        if same and same[-1].since == row.since:
            raise RatesInvalid(f"{row.model}: two rows since {row.since}")
        same.append(row)
    return {k: tuple(v) for k, v in found.items()}


def _in_force(rows: tuple[_Row, ...], on: date) -> _Row | None:
    return next((row for row in reversed(rows) if row.since <= on), None)
