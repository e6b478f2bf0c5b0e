"""Seeded orders, by arithmetic of our own.

What NumPy's `Generator` draws may change between versions, and a split or a resumed run must not.
So an order of n items is the order of n hashes: SplitMix64 (Steele, Lea and Flood 2014, "Fast
splittable pseudorandom number generators") of key + i·golden, i = 0 … n − 1.
"""

import functools
from collections.abc import Callable

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mix(states: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser, a bijection of uint64 (any shape)."""
    states = (states ^ (states >> np.uint64(30))) * _MIX_1
    states = (states ^ (states >> np.uint64(27))) * _MIX_2
    return states ^ (states >> np.uint64(31))


def _state(key):
    state = np.zeros(1, np.uint64)
    for part in key:
        state = _mix(state + _GOLDEN + np.uint64(part % 2**64))
    return state


def uniform(places: np.ndarray, *key: int) -> np.ndarray:
    """The members of an endless uniform sequence that depends on the integers `key` alone.

    Args:
      places: non-negative integers (M,): which members.
      *key: integers.

    Returns:
      float64 (M,) in [0, 1), multiples of 2^-53.
    """
    states = _state(key) + _GOLDEN * (np.asarray(places).astype(np.uint64) + np.uint64(1))
    return (_mix(states) >> np.uint64(11)) * 2.0**-53


def permutation(size: int, *key: int) -> np.ndarray:
    """A permutation of 0 … size − 1 that depends on `size` and the integers `key` alone.

    Returns:
      int64 (size,).
    """
    # The multiples of an odd constant are distinct and the mixer is a bijection: no ties.
    return np.argsort(_mix(_state(key) + _GOLDEN * np.arange(1, size + 1, dtype=np.uint64)))


def batch_places(
    size: int, batch_size: int, *, seed: int, shuffle: bool, drop_remainder: bool
) -> tuple[Callable[[int], np.ndarray], int]:
    """Which items make up the batch of a given step of an endless stream of epochs.

    Step s is batch s mod B of epoch s div B, where B is the number of batches in an epoch, and the
    order in epoch e depends on (seed, e) alone. So step s is known without the steps before it.

    Returns:
      (places, B): `places(step)` is int64 (batch_size,), or shorter for the last batch of an epoch
      when the remainder is kept.
    """
    steps = size // batch_size if drop_remainder else -(-size // batch_size)

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return permutation(size, seed, epoch) if shuffle else np.arange(size)

    def places(step: int) -> np.ndarray:
        epoch, batch = divmod(int(step), steps)
        return order(epoch)[batch * batch_size : (batch + 1) * batch_size]

    return places, steps
