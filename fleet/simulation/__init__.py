"""The fleet's decisions without a fleet: roster and accounts on a virtual clock.

    timeline.py     what happens when, in virtual time
    session.py      one interview as those decisions see it
    world.py        many of them, and the two deciders that are under test
    scaling/        nodes that start and stop, for the policy that wants them

Nothing here waits, so a hundred thousand sessions fit in a minute of one core. What a decision
costs is real: whoever runs it passes a clock for that.
"""
