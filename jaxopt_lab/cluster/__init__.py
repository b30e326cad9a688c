"""Sweeps on a Ray cluster: the same plan, with chunks that run in other processes."""
