"""What a session actor reads from its node's environment: endpoints, keys, patience.

Keys come from the environment of the worker (a Kubernetes Secret, or the shell of ``fleet up``),
never through an actor's arguments, which end up in Ray's tables and on its dashboard.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from agent_actor.errors import RehearsalRefused
from agent_actor.rates import UnpricedModels


class TransportKind(StrEnum):
    """How a session and its participant hear each other."""

    LIVEKIT = "livekit"
    MEMORY = "memory"
    """Not at all: a scripted participant in the same process. For load tests."""


class RoomOutputKind(StrEnum):
    """What carries the interviewer's words into the room."""

    FRAMEWORK = "framework"
    """The framework's output: it sends silence too, for as long as the session lives."""
    PACED = "paced"
    """Our own: nothing is sent while nobody speaks. See docs/decisions/0010-room-output.md."""


class PreopenProvider(StrEnum):
    """To whom warm actors open a connection before they have a session."""

    OFF = "off"
    OPENAI_REALTIME = "openai_realtime"


_PROVIDERS_OWN = (".openai.com", ".googleapis.com", ".azure.com")


class AgentSettings(BaseSettings):
    """Every field has the environment variable of its alias or ``FLEET_<NAME>``."""

    model_config = SettingsConfigDict(
        env_prefix="FLEET_",
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        # An error that shows what it was given may show a key.
        hide_input_in_errors=True,
    )

    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0", repr=False, validation_alias="REDIS_URL"
    )
    redis_namespace: str = "fleet"
    journal_ttl_s: int = Field(default=7 * 24 * 3600, ge=60)
    rates_path: Path | None = None
    """A rates file that replaces the bundled one."""
    model_aliases: dict[str, str] = Field(default_factory=dict)
    """Names of models that stand for others of the rate table, as a JSON object."""

    unpriced_models: UnpricedModels = UnpricedModels.REFUSE

    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    openai_base_url: str | None = None
    google_api_key: SecretStr | None = Field(default=None, validation_alias="GOOGLE_API_KEY")
    gemini_base_url: str | None = None
    gemini_ca_cert: Path | None = None
    """A CA to trust for ``gemini_base_url`` alone, beside nothing else."""

    transport: TransportKind = TransportKind.LIVEKIT
    room_output: RoomOutputKind = RoomOutputKind.FRAMEWORK

    preopen_provider: PreopenProvider = PreopenProvider.OFF
    preopen_model: str | None = None
    """Which model sessions are expected to ask for; None: the rate table's default."""
    preopen_max_age_s: float = Field(default=240.0, ge=5, le=1800)
    """A connection that nobody has taken by then is closed and opened anew."""
    preopen_max: int = Field(default=8, ge=1, le=1000)
    """How many warm actors of a node may hold one at once."""

    room_connect_timeout_s: float = 10.0
    metadata_timeout_s: float = 5.0
    metadata_poll_s: float = 0.15
    provider_connect_timeout_s: float = 10.0
    provider_outage_s: float = Field(default=20.0, ge=1, le=600)
    """How long a live interview waits for a provider that is gone before it ends."""
    fallback_after_s: float = Field(default=4.0, ge=0.5, le=600)
    """How long it waits where its contract names a fallback."""
    gemini_trigger_tokens: int | None = Field(default=None, ge=5_000, le=128_000)
    """The conversation is compressed to half once it is larger; None: the provider's own figure,
    80 % of the model's window. Each response is billed the whole of it."""
    openai_session_s: float = Field(default=3000.0, ge=5, le=3400)
    """A connection older than this is changed for a new one between turns. The provider ends it
    at 60 min."""
    first_audio_timeout_s: float = 20.0
    """From the greeting's request to its first audio; then the provider counts as failed."""
    goodbye_timeout_s: float = 15.0
    max_response_s: float = Field(default=120.0, ge=5, le=600)
    """The longest that the interviewer may speak at a stretch: the provider cuts it off there.
    What a response can cost at most goes by it, and so how early near its limit a session becomes
    careful."""
    report_interval_s: float = 1.0
    linger_s: float = 10.0
    """How long an actor whose session is over waits to be collected before it exits."""

    def check_rehearsal(self) -> None:
        """A scripted participant may speak to simulators only: it must never cost real money, nor
        stand where a real one is expected. Raises RehearsalRefused.
        """
        for variable, url in (
            ("FLEET_OPENAI_BASE_URL", self.openai_base_url),
            ("FLEET_GEMINI_BASE_URL", self.gemini_base_url),
        ):
            host = urlsplit(url or "").hostname or ""
            if not host or f".{host}".endswith(_PROVIDERS_OWN):
                raise RehearsalRefused(
                    f"FLEET_TRANSPORT=memory needs {variable} to be a simulator's address"
                )
