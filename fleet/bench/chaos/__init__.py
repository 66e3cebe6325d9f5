"""``python -m fleet.bench.chaos``: parts are killed while interviews run; does any notice?

registry    every fault there is, in the order in which they run
fault       what a fault is: its name, how many trials, what it needs, what runs it
stage       the whole fleet on real parts, and interviews on it with participants who speak
interview   one interview, by the participant's ears, the journal, the invoice and the ledger
cluster     which process each Ray actor is
nodes       a cluster of several Ray nodes, for faults that strike whole ones
evidence    what was heard and what was paid, judged (pure)

Then a module for each family of faults.

**To add a fault**, write a module with ``FAULT = Fault(...)`` and add it to a group of
``registry``. Its ``run(stage, trials)`` draws every moment from ``trials.dice(...)``, begins
interviews with ``stage.begin(...)``, does its worst, and returns a ``Measured``: bars, and the
figures behind them. A bar on a time goes through ``trials.timing``, as a short run says little
about times. Several interviews may run at once: a trial is one strike, not one interview. Faults
with equal ``needs`` share a stage, so it must be left as it was found, and ``stage.settle`` waits
until it is. One that fails with an error counts as missed, and the next gets a stage of its own.

Real: the fleet with its ingress, Ray, Redis that syncs every write, LiveKit, WebRTC both ways,
both providers' plugins and wire protocols. Not real: the providers, which are simulators that keep
invoices of their own, and the participants' voices.
"""
