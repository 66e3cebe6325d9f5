"""``python -m fleet.bench.budget``: whether money holds, judged on the simulators' invoices.

spec       which sessions are run, drawn from a seed (pure)
host       the Ray actor that runs many of them in one process
field      the parts they need, and running them
outage     the budget actor killed, Redis stopped, in the midst of them
judge      what came out, against the bars (pure)

Real: the interview session with the framework and both providers' plugins, the wire, metering,
permits, the budget actor in Ray, its ledger in a Redis that syncs every write. Not real: the
providers (simulators that keep invoices of their own), and the audio, which stays in memory with
a scripted participant. Several sessions share a process here, as this machine has two cores; on a
fleet each has its own.
"""
