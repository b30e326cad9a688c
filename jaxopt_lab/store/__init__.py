"""Storage: run folders that survive whatever ends a process, and arrays on disk."""
