"""Wrappers around optimizers and their parameters, which are not methods themselves."""
