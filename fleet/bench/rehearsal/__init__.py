"""``python -m fleet.bench.rehearsal``: a platform engineer's year in minutes, on one machine.

A fleet is installed on a Ray cluster that scales by itself, gets its load, grows, loses a node, is
upgraded (a second cluster on the same Redis and LiveKit takes the new sessions while the first one
is drained, and then ended) and shrinks, while interviews run. Their participants talk by WebRTC to
real session actors; only the providers are simulated. None may be lost or be disturbed, and what
all of them cost must be in the one ledger.
"""
