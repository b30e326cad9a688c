"""Comparisons: tune each optimizer, run what was selected with fresh seeds, and say how sure the difference is."""
