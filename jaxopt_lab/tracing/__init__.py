"""What JAX traces: the settings that traces depend on, caches, digests, errors of the functions traced."""
