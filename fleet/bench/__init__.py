"""Benchmarks of parts of the fleet; each module here is run by itself."""
