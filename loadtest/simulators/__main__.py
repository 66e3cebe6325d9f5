"""`python -m loadtest.simulators openai|gemini`: one provider simulator in the foreground.

Prints one JSON line on stdout when it accepts connections, `{"ready": true, "provider": …,
"base_url": …, "control_url": …}`, and ends on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
from collections.abc import Sequence

from loadtest.simulators.runtime import run

# Each module has `add_arguments(parser)` and `serving(args)`: an async context manager that
# yields the fields of the ready line.
PROVIDERS = {
    "openai": "loadtest.simulators.openai_server",
    "gemini": "loadtest.simulators.gemini_server",
}


def span(text: str) -> tuple[float, float]:
    """Parse "250-350", or "300" for a single value. Raises ArgumentTypeError otherwise."""
    low, _, high = text.partition("-")
    try:
        parsed = (float(low), float(high or low))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW-HIGH") from None
    if not 0 <= parsed[0] <= parsed[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range")
    return parsed


def parser_for(provider: str) -> argparse.ArgumentParser:
    """Arguments every provider has, then those of its own."""
    parser = argparse.ArgumentParser(prog=f"python -m loadtest.simulators {provider}")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--turns-per-phase", type=int, default=2)
    parser.add_argument("--speech-s", type=span, default=(1.5, 4.0), metavar="LOW-HIGH")
    parser.add_argument("--ttfa-ms", type=span, default=None, metavar="LOW-HIGH")
    parser.add_argument("--speed", type=float, default=8.0, help="audio out, times real time")
    parser.add_argument(
        "--parent-pid-watch", action="store_true", help="end when the parent process ends"
    )
    module = importlib.import_module(PROVIDERS[provider])
    module.add_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    chooser = argparse.ArgumentParser(prog="python -m loadtest.simulators", add_help=False)
    chooser.add_argument("provider", choices=sorted(PROVIDERS))
    chosen, rest = chooser.parse_known_args(argv)
    args = parser_for(chosen.provider).parse_args(rest)
    serving = importlib.import_module(PROVIDERS[chosen.provider]).serving
    asyncio.run(run(serving(args), watch_parent=args.parent_pid_watch))


if __name__ == "__main__":
    main()
