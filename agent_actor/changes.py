"""Which keys of the fleet's Redis changed last, so that whoever shows them reads only those. Pure.

A sorted set in the namespace: a member is the full name of a key that changed, its score a number
that grows with every change of any of them. However often a key changes, it stands there once, with
its newest number; a reader asks for what is newer than the number it saw last (``fleet.changes``).
"""

from __future__ import annotations

MOST_KEPT = 20_000
"""Names; the oldest go. A reader that finds as many new ones may have missed some."""


CHANGES = "changes"
"""The set's name in the namespace."""


def changes_key(namespace: str) -> str:
    return f"{namespace}:{CHANGES}"


# For the scripts that write, so that a change and its mark are one step.
CHANGED = f"""
local function changed(changes, key)
  local newest = redis.call('ZREVRANGE', changes, 0, 0, 'WITHSCORES')
  redis.call('ZADD', changes, tonumber(newest[2] or '0') + 1, key)
  redis.call('ZREMRANGEBYRANK', changes, 0, -{MOST_KEPT + 1})
end
"""
