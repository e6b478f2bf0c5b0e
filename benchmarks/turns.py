"""Functions timed by turns in one process, so that what else a machine does falls on all alike."""

import statistics
import time

import numpy as np


def seconds(functions, turns):
    """Dict of name to (turns,) seconds.

    Args:
        functions: dict of name to a function without arguments that returns a tensor; compiled
            ones are traced in a turn of their own before.
        turns: how often each is timed.
    """
    found = {name: [] for name in functions}
    for turn in range(turns + 1):
        for name, function in functions.items():
            started = time.perf_counter()
            function().numpy()
            if turn:
                found[name].append(time.perf_counter() - started)
    return {name: np.array(values) for name, values in found.items()}


def ratio(values, reference):
    """The median over the turns of one function's ratio to another's in the same turn."""
    return statistics.median(values / reference)
