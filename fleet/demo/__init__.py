"""``fleet demo``: four interviews at once, each with an ending of its own."""
