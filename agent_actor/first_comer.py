"""Who is interviewed where nobody could say beforehand: whoever comes into the room first.

From then on that one alone counts, told to the session by the name that its contract has for the
participant. Pure.
"""

from __future__ import annotations


class FirstComer:
    """``name``: the participant's in the contract. None: everybody goes by their own, and the
    contract has the one that is interviewed."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self.identity: str | None = None
        """In the room, once somebody has come."""

    @property
    def awaited(self) -> bool:
        return self._name is not None and self.identity is None

    def came(self, identity: str) -> None:
        """Somebody who may be interviewed is in the room. The first stays the one for good."""
        if self.awaited:
            self.identity = identity

    def known(self, identity: str) -> None:
        """Whom an earlier agent took for the one, who may be away now."""
        if self._name is not None:
            self.identity = identity

    def told(self, identity: str) -> str:
        """The name by which the session hears of ``identity``; empty for one that it must not
        take for its participant."""
        if self._name is None:
            return identity
        if identity == self.identity:
            return self._name
        return "" if identity == self._name else identity

    def in_room(self, name: str) -> str | None:
        """The reverse: who is meant by ``name``. None: nobody yet."""
        return self.identity if name == self._name else name
