"""Wrappers around optimizers and their parameters: they are no methods themselves."""
