"""Tracing: the settings that traces depend on, caches, digests of functions, errors in functions that JAX traces."""
