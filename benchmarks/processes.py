"""Measurements that need a process of their own."""

import multiprocessing
import resource


def in_fresh_process(function, *arguments):
    """The result of a module's function called in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_bytes():
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
