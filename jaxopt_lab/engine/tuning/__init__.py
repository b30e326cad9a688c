"""Tuning: the size of chunks, the fastest strategy, and the forecast of a plan."""
