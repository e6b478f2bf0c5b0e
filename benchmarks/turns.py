"""Functions timed by turns, so that what else a machine does falls on all alike."""

import statistics
import time

import numpy as np


def once(function):
    """Seconds of one call of a function without arguments that returns a tensor."""
    started = time.perf_counter()
    function().numpy()
    return time.perf_counter() - started


def seconds(functions, turns, timed=once):
    """Dict of name to (turns,) seconds.

    Args:
        functions: dict of name to what `timed` takes; compiled functions are traced in a turn of
            their own before.
        turns: how often each is timed.
        timed: gives the seconds of one of them.
    """
    found = {name: [] for name in functions}
    for turn in range(turns + 1):
        for name, function in functions.items():
            taken = timed(function)
            if turn:
                found[name].append(taken)
    return {name: np.array(values) for name, values in found.items()}


def ratio(values, reference):
    """The median over the turns of one function's ratio to another's in the same turn."""
    return statistics.median(values / reference)
