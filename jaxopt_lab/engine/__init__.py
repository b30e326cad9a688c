"""The engine: many trials at once."""
