"""The autoscaler's decisions through simulated days.

days.py      when sessions are asked for and how long they last, by seed
nodes.py     nodes that take minutes to start, sessions on them, whoever says how many
rules.py     those who say it: this fleet's policy, and what others use
oracle.py    who knows the future, to compare with
"""
