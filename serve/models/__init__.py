"""What the API answers, as pydantic models with an example each.

Money is said twice: ``*_micro_usd`` is an exact integer, ``*_usd`` the same as a decimal
string. Times are RFC 3339 in UTC; ``timings_ms`` maps a step to its milliseconds.
"""
