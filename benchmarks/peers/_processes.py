"""One process a core, started once: how a loop in Python uses more than one core."""

import concurrent.futures
import functools
import multiprocessing
import os

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def pool() -> concurrent.futures.ProcessPoolExecutor:
    """The processes, spawned: a fork of a process in which JAX has threads may hang. They end with this one."""
    return concurrent.futures.ProcessPoolExecutor(CORES, multiprocessing.get_context("spawn"))
