"""From a LiveKit job to the contract of its session. Pure.

Looked for in this order:

1. the job's metadata, as the dispatch gave it;
2. the room's metadata;
3. the default profile.

Metadata is about the session if it is a JSON object with one of the contract's required keys, or
with ``profile``: the name of a profile, over which the object's other keys are laid. Anything else
belongs to the application and is passed over, except that job metadata which is meant for JSON and
is none (cut off, say) is an error: a default in its place would be a surprise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent_actor.contract import AgentError, SessionConfig, parse_strict, parse_tolerant
from fleet.bridge.protocol import JobOffer
from fleet.errors import JobConfigInvalid

PROFILE = "profile"
_ITS_OWN = frozenset({"provider", "instructions", "phases", PROFILE})
_JOB, _ROOM = "job metadata", "room metadata"

Contract = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Profiles:
    """Contracts by name, checked. ``default`` names one of them, or is None."""

    contracts: Mapping[str, Contract]
    default: str | None = None


@dataclass(frozen=True, kw_only=True)
class JobContract:
    """``first_comer``: nobody said who is interviewed."""

    config: SessionConfig
    first_comer: bool
    source: str


NO_PROFILES = Profiles(contracts={})


def contract_of(offer: JobOffer, profiles: Profiles) -> JobContract:
    """Raises JobConfigInvalid, which says where it was looked for and what is wrong there."""
    source, data = _found(offer, profiles)
    if offer.participant_identity is not None:
        data = {**data, "participant_identity": offer.participant_identity}
    try:
        config = parse_tolerant(json.dumps(data))
    except AgentError as error:
        raise JobConfigInvalid(source, str(error)) from None
    first_comer = "participant_identity" not in data
    return JobContract(config=config, first_comer=first_comer, source=source)


def check_profiles(contracts: Mapping[str, Any], default: str | None) -> Profiles:
    """Strict, as operators write them. Raises JobConfigInvalid."""
    for name, data in contracts.items():
        if not isinstance(data, dict):
            raise JobConfigInvalid(f"profile {name}", "must be a JSON object")
        try:
            parse_strict(data)
        except AgentError as error:
            raise JobConfigInvalid(f"profile {name}", str(error)) from None
    if default is not None and default not in contracts:
        raise JobConfigInvalid(f"profile {default}", "there is no such profile")
    return Profiles(contracts=dict(contracts), default=default)


def _found(offer: JobOffer, profiles: Profiles) -> tuple[str, Contract]:
    for source, text in ((_JOB, offer.metadata), (_ROOM, offer.room_metadata)):
        data = _object(source, text)
        if data is not None:
            return source, _with_profile(source, data, profiles)
    if profiles.default is None:
        raise JobConfigInvalid(_JOB, "no contract there nor in the room, and no default profile")
    name = profiles.default
    return f"profile {name}", dict(profiles.contracts[name])


def _object(source: str, text: str) -> Contract | None:
    """What is there about the session; None: nothing."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        if source == _JOB and text.lstrip().startswith("{"):
            raise JobConfigInvalid(source, "not JSON, though it begins so") from None
        return None
    return data if isinstance(data, dict) and _ITS_OWN & data.keys() else None


def _with_profile(source: str, data: Contract, profiles: Profiles) -> Contract:
    if PROFILE not in data:
        return data
    name = data[PROFILE]
    if not isinstance(name, str) or name not in profiles.contracts:
        raise JobConfigInvalid(source, f"there is no profile {str(name)[:100]!r}")
    return {**profiles.contracts[name], **{k: v for k, v in data.items() if k != PROFILE}}
