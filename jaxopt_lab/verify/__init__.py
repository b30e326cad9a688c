"""Checks of the numbers against independent witnesses."""
