"""Money: who may spend how much, what was spent, and the ledger that survives everything.

policy     how large an allowance is, and when a session has to end (pure)
account    one session's money (pure)
accounts   session ≤ study ≤ fleet (pure)
ledger     the same in Redis, under a fencing epoch
export     what was spent as rows, read from the ledger
thresholds which fractions of a limit were crossed, and what is told of it (pure)
webhook    delivers that
actor      the Ray actor "budget": applies, writes, then answers
gatherer   many single reports in batches
relay      the Ray actor "budget-relay-NODE": does that for its node, where it is wanted
relayed    how a session reaches the budget actor then
client     how the rest of the fleet reaches it
"""
