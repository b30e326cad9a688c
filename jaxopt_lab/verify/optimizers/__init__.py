"""Every optimizer held against witnesses: its twin in Optax, PyTorch, and its authors' own code."""
