"""Stateful property tests: any order of calls is answered as the oracle says. Has a migration: the clock that tests move."""
