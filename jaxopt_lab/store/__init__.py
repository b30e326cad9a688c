"""Storage: run folders that survive the end of a process, however it ends, and arrays on disk."""
