"""Is there a server at all? Asked before the SDK is: it cannot be cancelled while it connects.

With a server that accepts and never answers, `Room.connect` takes four times (its timeout + 3 s),
goes on in the background when cancelled, and could join long after everyone gave up.
"""

from __future__ import annotations

import aiohttp

from loadtest.participants.errors import ServerUnreachable

SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}


async def assert_reachable(url: str, deadline_s: float) -> None:
    """Return when an HTTP answer, of whatever status, came in time. Raises ServerUnreachable."""
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or not rest:
        raise ServerUnreachable(f"{url}: not the URL of a LiveKit server (ws:// or wss://)")
    limit = aiohttp.ClientTimeout(total=deadline_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as http,
            http.get(f"{SCHEMES[scheme]}://{rest}", allow_redirects=False),
        ):
            return
    except TimeoutError:
        raise ServerUnreachable(f"{url}: no answer after {deadline_s:g} s") from None
    except (aiohttp.ClientError, ValueError) as error:
        raise ServerUnreachable(f"{url}: no LiveKit server answered ({error})") from None
