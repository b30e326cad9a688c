"""Pure functions of arrays: no sweep is known here."""
