"""Exact dynamic programming for problems small enough to tabulate: the yardstick against which learning is measured."""
