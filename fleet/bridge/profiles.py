"""Reading the profiles: contracts by name, from one JSON file or a folder of NAME.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fleet.bridge.contracts import NO_PROFILES, Profiles, check_profiles
from fleet.errors import JobConfigInvalid, SettingsInvalid
from fleet.settings import FleetSettings


def load_profiles(settings: FleetSettings) -> Profiles:
    """Raises SettingsInvalid, naming the variable, the profile and what is wrong with it."""
    if settings.profiles is None:
        return NO_PROFILES
    try:
        return check_profiles(_read(settings.profiles), settings.default_profile)
    except (OSError, ValueError, JobConfigInvalid) as error:
        raise SettingsInvalid({"FLEET_PROFILES": str(error)}) from None


def _read(path: Path) -> dict[str, Any]:
    if path.is_dir():
        return {file.stem: _json(file) for file in sorted(path.glob("*.json"))}
    data = _json(path)
    if not isinstance(data, dict):
        raise ValueError(f"{path.name}: must be a JSON object, from names to contracts")
    return data


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
