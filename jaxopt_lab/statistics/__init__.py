"""Statistics: pure functions of arrays, independent of sweeps."""
