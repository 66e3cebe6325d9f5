"""What an operator may set, from the environment.

Names start with ``FLEET_``; the addresses and keys of LiveKit, Redis and Ray go by their usual
names (LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET, REDIS_URL, RAY_ADDRESS). Lists
and maps are JSON. Provider keys are not here: the workers read them for themselves.

``load_settings`` is the way in: it raises one SettingsInvalid that names every bad variable.
"""

from __future__ import annotations

import ipaddress
import re
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from agent_actor.rates import UnpricedModels
from agent_actor.settings import TransportKind
from fleet.errors import SettingsInvalid
from fleet.signing import signing_key

DAY_S = 24 * 3600
SHORTEST_KEY = 16
RAY_NAMESPACE = "interview-fleet"

Usd = Annotated[Decimal, Field(gt=0, le=100_000_000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[Decimal, Field(gt=0, le=1, decimal_places=6, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65_535)]


class BudgetRelays(StrEnum):
    """Whether sessions report to the budget actor themselves or by a relay on their node."""

    OFF = "off"
    PER_NODE = "per_node"


class FleetSettings(BaseSettings):
    """All settings of the control plane and its ingress; frozen, picklable, repr without keys."""

    model_config = SettingsConfigDict(
        env_prefix="FLEET_",
        env_ignore_empty=True,
        frozen=True,
        # An error that shows what it was given may show a key.
        hide_input_in_errors=True,
        extra="ignore",
        validate_default=True,
        validate_by_name=True,
        validate_by_alias=True,
    )

    api_host: str = "127.0.0.1"
    api_port: Port = 8000
    """0 takes a free port."""
    public_url: str | None = Field(default=None, pattern=r"^https?://[^\s/?#]+[^\s?#]*$")
    """As participants' browsers reach the ingress, for their links; None: as whoever asks for a
    session reaches it."""
    ingress_replicas: int = Field(default=1, ge=1, le=100)
    """With two or more, the API goes on while one that was lost is replaced."""
    api_key: SecretStr | None = None
    """Bearer key of the API. May be missing only where ``api_host`` is loopback."""

    livekit_url: str = Field(
        default="ws://127.0.0.1:7880",
        pattern=r"^(wss?|https?)://[^\s/]+",
        validation_alias="LIVEKIT_URL",
    )
    """As agents and this control plane reach it."""
    livekit_public_url: str | None = Field(default=None, pattern=r"^wss?://[^\s/]+")
    """As participants' browsers reach it, where that differs."""
    livekit_api_key: str = Field(min_length=1, validation_alias="LIVEKIT_API_KEY")
    livekit_api_secret: SecretStr = Field(min_length=1, validation_alias="LIVEKIT_API_SECRET")
    livekit_timeout_s: Seconds = 3.0
    """For one call to the server's API."""
    contract_in_room: bool = False
    """Whether a session's contract stands in its room's metadata, for all in the room to read, the
    participant too. Else only its agent has it, from its assignment."""
    room_empty_timeout_s: int = Field(default=120, ge=10, le=3600)
    """The server removes a room in which nobody ever was after this: the last line of clean-up."""
    participant_token_ttl_s: int = Field(default=3600, ge=60, le=DAY_S)
    observer_token_ttl_s: int = Field(default=3600, ge=60, le=DAY_S)
    """Also how long an observer keeps its place among the few that a session may have."""
    agent_token_ttl_s: int = Field(default=600, ge=30, le=DAY_S)
    """Only joining needs the token: the server renews it for those who are in the room."""

    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        pattern=r"^(rediss?|unix)://\S+",
        repr=False,
        validation_alias="REDIS_URL",
    )
    redis_namespace: str = Field(default="fleet", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    redis_timeout_s: Seconds = 1.5
    cluster: str = Field(default="main", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """This Ray cluster's name among those that share the registry, as they do during an upgrade."""

    ray_address: str | None = Field(default=None, validation_alias="RAY_ADDRESS")
    """None starts a local one."""
    ray_namespace: str = Field(default=RAY_NAMESPACE, min_length=1)

    agent_name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Under which the fleet takes LiveKit's own agent dispatches; None: it takes none."""
    agent_bridges: int = Field(default=2, ge=1, le=16)
    """Registrations under that name, each by an actor of its own. With one alone, jobs are lost
    while it restarts."""
    agent_answer_s: float = Field(default=1.3, ge=0.1, le=2.5, allow_inf_nan=False)
    """For an answer to a job that is offered. LiveKit gives all workers that it asks one after
    another about 2.8 s together."""
    profiles: Path | None = None
    """Contracts by name, for jobs without one: a JSON object, or a folder of NAME.json."""
    default_profile: str | None = None
    """For jobs that name none either."""

    transport: TransportKind = TransportKind.LIVEKIT
    """``memory`` rehearses: audio stays in the session actors, with scripted participants. Read
    by the session actors' nodes too, from their own environment."""

    warm_actors: int = Field(default=2, ge=0, le=10_000)
    max_sessions: int = Field(default=200, ge=1, le=100_000)
    max_starting_actors: int = Field(default=2, ge=1, le=1000)
    """How many actors may be starting up at once: each costs CPU that live ones need."""
    autoscale: bool = False
    """Whether nodes and warm actors follow demand, by Ray's autoscaler. ``warm_actors`` is then
    the least that is kept warm."""
    min_nodes: int = Field(default=1, ge=0, le=10_000)
    max_nodes: int = Field(default=20, ge=1, le=10_000)
    """For session actors, the head's apart."""
    node_slots: int = Field(default=32, ge=1, le=10_000)
    """The ``session_slot`` resource of a node that is started for session actors."""
    node_start_s: Seconds = 180.0
    """From asking for a node to its being up, until some have shown it."""
    scale_every_s: float = Field(default=5.0, ge=0.5, le=60, allow_inf_nan=False)
    scale_calm_s: float = Field(default=120.0, ge=0, le=3600, allow_inf_nan=False)
    """A node or a warm actor goes when it has not been wanted for so long."""
    refill_calm_s: float = Field(default=2.0, ge=0, le=60, allow_inf_nan=False)
    """How long after the last session was given its actor the warm pool is filled up again."""
    actor_cpus: float = Field(default=0.1, gt=0, le=16, allow_inf_nan=False)
    """Never 0: a node with zero-CPU actors only is judged idle and removed (ray #37733)."""
    control_resource: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")
    """A custom resource of the nodes that control actors are on, and of no others."""
    actor_warm_timeout_s: Seconds = 60.0
    fork_server: bool = True
    """Whether session actors are forked from a process that has imported everything, where the
    system has what that takes; without it each starts plainly."""
    full_retry_after_s: Seconds = 5.0

    join_timeout_s: Seconds = 10.0
    """From assignment to the agent in the room, for one attempt."""
    dispatch_deadline_s: Seconds = 25.0
    """For all steps and attempts of one dispatch."""
    max_attempts: int = Field(default=2, ge=1, le=5)
    """Actors that may be tried before a session is live."""
    max_recoveries: int = Field(default=3, ge=0, le=100)
    """How often another actor may carry on an interview whose actor was lost; 0: its end."""
    drain_deadline_s: float = Field(default=600.0, ge=0, le=DAY_S, allow_inf_nan=False)
    """Between a drain and moving (a node's) or ending (the whole fleet's) what is still live."""
    handover_patience_s: float = Field(default=20.0, ge=0, le=300, allow_inf_nan=False)
    """How long an actor that is to be moved may wait for a moment at which nobody notices."""
    stop_grace_s: float = Field(default=2.0, ge=0, le=60, allow_inf_nan=False)
    """Between asking a session to stop and killing its actor."""
    overdue_grace_s: Seconds = 25.0
    """Between telling a session to end for money, or its lease's end, and stopping it from outside:
    longer than its goodbye (15 s) and its final report (5 s) take."""
    reap_every_s: float = Field(default=4.0, ge=0.5, le=60, allow_inf_nan=False)
    """Between two rounds that compare rooms, actors, registry and ledger with each other."""
    reap_missing_room_s: float = Field(default=30.0, ge=2, le=600, allow_inf_nan=False)
    """How long a live session's room may be away: a restarted LiveKit server has none until its
    participants are back."""

    fleet_limit_usd: Usd | None = None
    study_limit_usd: Usd | None = None
    """For each study that is not in ``study_limits_usd``."""
    study_limits_usd: dict[str, Usd] = {}
    budget_webhook_url: str | None = Field(
        default=None, pattern=r"^https?://[^\s/]+\S*$", repr=False
    )
    """Told when spending reaches a fraction of a limit. It may hold a secret: it is not shown."""
    budget_webhook_secret: SecretStr | None = None
    budget_webhook_fractions: tuple[Fraction, ...] = (
        Decimal("0.5"),
        Decimal("0.8"),
        Decimal("1.0"),
    )
    allowance_lease_s: Seconds = 120.0
    """A session that hears nothing from the budget actor for so long ends itself."""
    budget_relay: BudgetRelays = BudgetRelays.OFF
    """A relay saves the budget actor calls and costs the fleet more in all: for many sessions."""
    rates_path: Path | None = None
    """A table of rates in place of the bundled one."""
    model_aliases: dict[str, str] = {}
    unpriced_models: UnpricedModels = UnpricedModels.REFUSE
    """Read by the session actors' nodes too, from their own environment."""

    record_ttl_s: int = Field(default=30 * DAY_S, ge=60)
    """How long an ended session stays listed. What it cost stays in the ledger."""
    journal_ttl_s: int = Field(default=7 * DAY_S, ge=60)
    idempotency_ttl_s: int = Field(default=DAY_S, ge=60)

    log_level: str = Field(default="INFO", pattern=r"^(DEBUG|INFO|WARNING|ERROR)$")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.api_key is None and not self.loopback_only:
            raise _CrossFieldError("FLEET_API_KEY", "required unless FLEET_API_HOST is loopback")
        if self.api_key is not None and min(map(len, self.api_keys), default=0) < SHORTEST_KEY:
            why = f"each must have at least {SHORTEST_KEY} characters"
            raise _CrossFieldError("FLEET_API_KEY", why)
        if self.join_timeout_s > self.dispatch_deadline_s:
            raise _CrossFieldError(
                "FLEET_JOIN_TIMEOUT_S", "must not exceed FLEET_DISPATCH_DEADLINE_S"
            )
        if self.min_nodes > self.max_nodes:
            raise _CrossFieldError("FLEET_MIN_NODES", "must not exceed FLEET_MAX_NODES")
        if self.budget_webhook_url is not None:
            self._check_webhook_secret()
        if self.profiles is not None and not self.profiles.exists():
            raise _CrossFieldError("FLEET_PROFILES", "no such file or folder")
        if self.default_profile is not None and self.profiles is None:
            raise _CrossFieldError("FLEET_DEFAULT_PROFILE", "needs FLEET_PROFILES")
        if self.rates_path is not None and not self.rates_path.is_file():
            raise _CrossFieldError("FLEET_RATES_PATH", "no such file")
        return self

    def _check_webhook_secret(self) -> None:
        name, secret = "FLEET_BUDGET_WEBHOOK_SECRET", self.budget_webhook_secret
        if secret is None:
            raise _CrossFieldError(name, "required with FLEET_BUDGET_WEBHOOK_URL")
        try:
            key = signing_key(secret.get_secret_value())
        except ValueError as error:
            raise _CrossFieldError(name, str(error)) from None
        if len(key) < 24:
            raise _CrossFieldError(name, "must have at least 24 bytes")

    @property
    def api_keys(self) -> tuple[str, ...]:
        """FLEET_API_KEY, several separated by commas while one is replaced. None: it is not set."""
        if self.api_key is None:
            return ()
        return tuple(k.strip() for k in self.api_key.get_secret_value().split(",") if k.strip())

    @property
    def loopback_only(self) -> bool:
        """Whether the ingress can be reached from this machine alone."""
        if self.api_host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.api_host).is_loopback
        except ValueError:
            return False

    @property
    def control_resources(self) -> dict[str, float]:
        """What a control actor asks of its node: next to nothing of what only their nodes have."""
        return {} if self.control_resource is None else {self.control_resource: 0.001}

    @property
    def rehearses(self) -> bool:
        return self.transport is TransportKind.MEMORY

    @property
    def participant_livekit_url(self) -> str:
        """What a participant's browser is told: always a ws or wss address."""
        return self.livekit_public_url or re.sub(r"^http", "ws", self.livekit_url)

    @property
    def fleet_limit_micro_usd(self) -> int | None:
        return None if self.fleet_limit_usd is None else usd_to_micro(self.fleet_limit_usd)

    def study_limit_micro_usd(self, study_id: str) -> int | None:
        """None: no limit but the fleet's."""
        limit = self.study_limits_usd.get(study_id, self.study_limit_usd)
        return None if limit is None else usd_to_micro(limit)


class _CrossFieldError(ValueError):
    def __init__(self, variable: str, why: str) -> None:
        super().__init__(f"{variable}: {why}")
        self.variable = variable
        self.why = why


def load_settings(**overrides: Any) -> FleetSettings:
    """Settings from the environment, ``overrides`` (field names) first. Raises SettingsInvalid."""
    try:
        return FleetSettings(**overrides)
    except ValidationError as error:
        raise SettingsInvalid(_problems(error)) from None
    except SettingsError as error:
        # Raised before validation, for a list or map that is not JSON; it quotes only the field.
        field = re.search(r'field "(\w+)"', str(error))
        name = variable_of(field[1]) if field else "settings"
        raise SettingsInvalid({name: "not JSON"}) from None


def usd_to_micro(usd: Decimal) -> int:
    """Dollars as whole micro-dollars, rounded down: a limit is never more than was set."""
    return int((usd * 1_000_000).to_integral_value(rounding=ROUND_DOWN))


def variable_of(field: str) -> str:
    """The environment variable to name in an error about ``field``."""
    info = FleetSettings.model_fields.get(field)
    if info is not None and isinstance(info.validation_alias, str):
        return info.validation_alias
    return f"FLEET_{field.upper()}"


def _problems(error: ValidationError) -> dict[str, str]:
    problems: dict[str, str] = {}
    for part in error.errors(include_url=False, include_input=False):
        cross = part.get("ctx", {}).get("error")
        if isinstance(cross, _CrossFieldError):
            problems[cross.variable] = cross.why
            continue
        field, *rest = (str(p) for p in part["loc"]) if part["loc"] else ("settings",)
        name = field if field.isupper() else variable_of(field)
        problems[".".join([name, *rest])] = part["msg"]
    return problems
