"""Check every optimizer against witnesses: its twin in Optax, PyTorch, and its authors' own code."""
