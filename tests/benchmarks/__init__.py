"""Measurements beside a peer, in the same run and in turn. Never part of the tests: `python -m tests.benchmarks`."""
