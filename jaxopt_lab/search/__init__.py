"""Adaptive search: configurations that a method suggests round by round, each round one sweep."""
