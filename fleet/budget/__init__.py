"""Money: who may spend how much, what was spent, and the ledger that survives everything.

policy     how large an allowance is, and when a session has to end (pure)
account    one session's money (pure)
accounts   session ≤ study ≤ fleet (pure)
ledger     the same in Redis, under a fencing epoch
actor      the Ray actor "budget": applies, writes, then answers
gatherer   many single reports in batches
relay      the Ray actor "budget-relay-NODE": does that for its node, where it is wanted
relayed    how a session reaches the budget actor then
client     how the rest of the fleet reaches it
"""
