"""The autoscaler against the rules that others use and against one that knows the future, on
simulated days.

--seed N    of the first of the judged days; the policy was tuned on others (docs/benchmarks/)
"""
