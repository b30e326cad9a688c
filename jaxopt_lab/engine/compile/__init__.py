"""Compilation: from one trial's pure functions to programs over many trials."""
