"""Rows that viewers have copies of, and what each must be told to bring its copy up to date. Pure.

Every field knows the version in which it last changed; ``commit`` ends a version. A viewer that has
version v needs the rows that are gone since then and the fields that are newer, in this order:

    {"version": 9, "drop": {"sessions": ["s-2"]}, "put": {"sessions": {"s-1": {"spent": 4100}}}}
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

Row: TypeAlias = Mapping[str, Any]
"""Field → JSON value. What a row once had it keeps: say None for what is no more."""

MOST_DROPPED = 4_096
"""Rows that are gone and still known to be; who has not heard of the older ones starts anew."""


class _Place(NamedTuple):
    table: str
    key: str


class Tables:
    def __init__(self, *, most_dropped: int = MOST_DROPPED) -> None:
        self.version = 0
        self._rows: dict[str, dict[str, dict[str, Any]]] = {}
        self._versions: dict[_Place, dict[str, int]] = {}
        self._newest: dict[_Place, int] = {}
        """Of its fields' versions; the row that changed last comes last."""
        self._dropped: deque[tuple[int, _Place]] = deque()
        self._most_dropped = most_dropped
        self._known_since = 0
        """Who has this version or a newer one can be told of every row that is gone."""
        self._touched = False

    def get(self, table: str, key: str) -> Row | None:
        return self._rows.get(table, {}).get(key)

    def keys(self, table: str) -> list[str]:
        return list(self._rows.get(table, {}))

    def put(self, table: str, key: str, row: Row) -> None:
        """Set these fields; others of the row stay. What is equal already is no change."""
        place = _Place(table, key)
        mine = self._rows.setdefault(table, {}).setdefault(key, {})
        newer = {n: v for n, v in row.items() if n not in mine or mine[n] != v}
        if not newer:
            return
        mine.update(newer)
        self._versions.setdefault(place, {}).update(dict.fromkeys(newer, self.version + 1))
        self._newest.pop(place, None)
        self._newest[place] = self.version + 1
        self._touched = True

    def drop(self, table: str, key: str) -> None:
        """A row that is not there is no change."""
        if self._rows.get(table, {}).pop(key, None) is None:
            return
        place = _Place(table, key)
        del self._versions[place], self._newest[place]
        self._dropped.append((self.version + 1, place))
        self._touched = True
        while len(self._dropped) > self._most_dropped:
            self._known_since = self._dropped.popleft()[0]

    def keep_only(self, table: str, keys: Iterable[str]) -> None:
        """Drop all other rows of the table."""
        for key in set(self.keys(table)).difference(keys):
            self.drop(table, key)

    def commit(self) -> bool:
        """Whether there was anything to tell."""
        if self._touched:
            self.version += 1
            self._touched = False
            return True
        return False

    def snapshot(self) -> dict[str, Any]:
        return {"version": self.version, "put": self._rows}

    def since(self, version: int) -> dict[str, Any] | None:
        """None: too long ago, take a snapshot."""
        if version < self._known_since:
            return None
        told: dict[str, Any] = {"version": self.version}
        for at, place in reversed(self._dropped):
            if at <= version:
                break
            told.setdefault("drop", {}).setdefault(place.table, []).append(place.key)
        for place, newest in reversed(self._newest.items()):
            if newest <= version:
                break
            versions, row = self._versions[place], self._rows[place.table][place.key]
            newer = {name: row[name] for name, at in versions.items() if at > version}
            told.setdefault("put", {}).setdefault(place.table, {})[place.key] = newer
        return told
