"""The Locust scenario against a whole fleet on this machine: ``python -m fleet.bench.scenario``.

load     hundreds of sessions at once; their audio stays in memory (the control tier)
media    a few, and every byte of their media is real
churn    thousands of short ones: for what is lost, doubled or left behind

The scenario is a black box beside us (``loadtest/locustfile.py``, a child process). What it saw
is held against what the fleet's API, its ledger, the simulators' invoices and /proc say.
"""
