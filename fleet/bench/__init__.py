"""Benchmarks: each measures real parts on this machine and judges what it found against bars.

report     bars, what a benchmark found, its result as JSON (pure)
views      the result as a table, and as Markdown for docs/benchmarks/ (pure)
machine    what it ran on
progress   how far it is
actors     a session actor ready, forked and plain
peer       this fleet beside a livekit-agents worker; a package
live       a live session: CPU, memory, sound, with the framework's room output and with ours
live_session  one such session, in a process of its own
processes  what a process costs, by thread
reports    usage reports through Ray, and relay: by a relay on each node
command    ``python -m fleet.bench.NAME [--smoke]``: signals, files, exit code
write_up   ``python -m fleet.bench.write_up NAME``: docs/benchmarks/NAME.md from out/NAME.json

A benchmark is a module with ``async def measure(options, progress) -> Measured`` and, at its end,
``sys.exit(bench_main("NAME", measure, about=...))``.

``--smoke`` is the short form for CI, a minute at most: what the machine's noise decides is not
judged there (``Bar.not_judged``), only what must hold anywhere.
"""
