"""A session's stretches of time, from what it writes into its journal. Pure.

A stretch is told when it is over and not before: an actor that is killed leaves none behind that
others would hang on, and nothing has to be held open for the length of an interview.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent_actor import span_names as names
from agent_actor.contract import SessionState
from agent_actor.journal import EventKind
from agent_actor.span_names import Value

UNFINISHED = "unfinished"


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Times are epoch seconds. ``error``: the code of what it failed for."""

    name: str
    began_at: float
    ended_at: float
    attributes: Mapping[str, Value] = field(default_factory=dict)
    error: str | None = None


@dataclass
class _Open:
    began_at: float
    attributes: dict[str, Value]


class Timeline:
    """Of one attempt. Feed it every entry of the journal, with the epoch seconds of its writing."""

    def __init__(self, began_at: float) -> None:
        self._began_at = began_at
        self._open = {names.JOIN_ROOM: _Open(began_at, {})}
        self._over: list[Stretch] = []
        self._heard = False
        self.phase_id: str | None = None

    def feed(self, kind: EventKind, data: Mapping[str, Any], at: float) -> list[Stretch]:
        """The stretches that are over with it."""
        match kind:
            case EventKind.STATE:
                self._state(data, at)
            case EventKind.METADATA:
                self._end(names.WAIT_FOR_METADATA, at)
                self._begin(names.CONNECT_PROVIDER, at)
            case EventKind.RECOVERY:
                self._recovery(data, at)
            case EventKind.PROVIDER:
                self._provider(data, at)
            case EventKind.AUDIO if "first_audio_s" in data:
                self._heard = True
                self._end(names.FIRST_AUDIO, at)
            case EventKind.PHASE:
                self._phase(data, at)
            case _:
                pass
        over, self._over = self._over, []
        return over

    def close(self, at: float, *, reason: str | None, error: str | None) -> list[Stretch]:
        """No more comes. What has not come to its end is told with ``error``, or UNFINISHED."""
        leaving: dict[str, Value] = {} if reason is None else {names.END_REASON: reason}
        self._end(names.PHASE, at)
        self._end(names.GOODBYE, at)
        self._end(names.LEAVE, at, leaving)
        for name in list(self._open):
            self._end(name, at, error=error or UNFINISHED)
        over, self._over = self._over, []
        return over

    def _state(self, data: Mapping[str, Any], at: float) -> None:
        state = data["state"]
        if state == SessionState.JOINED:
            self._end(names.JOIN_ROOM, at)
            # One who knows the contract is with its provider already.
            if not self._open:
                self._begin(names.WAIT_FOR_METADATA, at)
        elif state == SessionState.LIVE and not self._heard:
            self._begin(names.FIRST_AUDIO, at)
        elif state == SessionState.ENDING:
            self._end(names.PHASE, at)
            # Who never spoke by now is not waited for any more.
            self._open.pop(names.FIRST_AUDIO, None)
            self._begin(names.LEAVE, at)

    def _recovery(self, data: Mapping[str, Any], at: float) -> None:
        if "from_attempt" in data:
            taken_up = {names.RESUMPTION: data["resumption"], names.GAP_S: data["gap_s"]}
            self._tell(names.READ_CHECKPOINT, self._began_at, at, taken_up)
            self._open.pop(names.WAIT_FOR_METADATA, None)
            self._begin(names.CONNECT_PROVIDER, at)
            if data.get("phase_id"):
                self._enter(at, {names.PHASE_ID: data["phase_id"], names.CAUSE: "recovered"})
        elif "silence_s" in data:
            self._tell(names.SILENCE, at - data["silence_s"], at)

    def _provider(self, data: Mapping[str, Any], at: float) -> None:
        match data.get("change"):
            case "connected":
                self._end(names.CONNECT_PROVIDER, at)
            case "disconnected" if names.LEAVE not in self._open:
                self._begin(names.RECONNECT_PROVIDER, at)
            case "reconnected":
                how = {names.PLANNED: data["planned"], names.CUT_SHORT: data["cut_short"]}
                self._end(names.RECONNECT_PROVIDER, at, how)
            case "given_up":
                self._end(names.CONNECT_PROVIDER, at, error=data["code"])
                self._end(names.RECONNECT_PROVIDER, at, error=data["code"])

    def _phase(self, data: Mapping[str, Any], at: float) -> None:
        match data.get("change"):
            case "entered":
                self._enter(
                    at,
                    {
                        names.PHASE_ID: data["phase_id"],
                        names.PHASE_INDEX: data["index"],
                        names.CAUSE: data["cause"],
                    },
                )
            case "closing":
                self._end(names.PHASE, at)
            case "goodbye":
                self._begin(names.GOODBYE, at)
            case "goodbye_over":
                self._end(names.GOODBYE, at)

    def _enter(self, at: float, attributes: dict[str, Value]) -> None:
        self._end(names.PHASE, at)
        self.phase_id = str(attributes[names.PHASE_ID])
        self._begin(names.PHASE, at, attributes)

    def _begin(self, name: str, at: float, attributes: dict[str, Value] | None = None) -> None:
        """What is under way already goes on."""
        self._open.setdefault(name, _Open(at, attributes or {}))

    def _end(
        self,
        name: str,
        at: float,
        more: Mapping[str, Value] | None = None,
        error: str | None = None,
    ) -> None:
        open_ = self._open.pop(name, None)
        if open_ is not None:
            attributes = {**open_.attributes, **(more or {})}
            self._tell(name, open_.began_at, at, attributes, error)

    def _tell(
        self,
        name: str,
        began_at: float,
        ended_at: float,
        attributes: Mapping[str, Value] | None = None,
        error: str | None = None,
    ) -> None:
        self._over.append(
            Stretch(
                name=name,
                began_at=began_at,
                ended_at=ended_at,
                attributes=attributes or {},
                error=error,
            )
        )
