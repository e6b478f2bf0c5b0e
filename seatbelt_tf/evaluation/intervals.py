"""Intervals for means over few units of replication."""

import numpy as np

from seatbelt_tf import checks

RESAMPLES = 10_000
# Values resampled at once, which bounds the memory.
_VALUES_AT_ONCE = 2**22


def bootstrap_interval(values, confidence=0.95, seed=0):
    """Mean of independent values with its percentile bootstrap interval (Efron 1979).

    Args:
        values: (n,) one number a unit of replication: a pair of images, a training seed.
        confidence: coverage, between 0 and 1.
        seed: of the resampling.

    Returns:
        (mean, lower, upper), floats.

    Raises:
        ValueError: values are not (n,), n ≥ 1, or not finite, or the confidence is out of range.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not np.all(np.isfinite(values)):
        raise checks.invalid("values", "finite numbers of shape (n,), n ≥ 1", repr(values))
    return crossed_bootstrap_interval(values[None], confidence, seed)


def crossed_bootstrap_interval(values, confidence=0.95, seed=0):
    """Mean with its interval when every training seed was tried on the same pairs.

    Seeds and pairs are resampled independently of each other (Owen 2007, the pigeonhole
    bootstrap). With one seed it says nothing of other seeds.

    Args:
        values: (S, P) by training seed and pair.
        confidence: see `bootstrap_interval`.
        seed: see `bootstrap_interval`.

    Returns:
        See `bootstrap_interval`.

    Raises:
        ValueError: values are not (S, P), S, P ≥ 1, or not finite, or the confidence out of range.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not values.size or not np.all(np.isfinite(values)):
        raise checks.invalid("values", "finite numbers of shape (S, P), S, P ≥ 1", repr(values))
    if not 0 < confidence < 1:
        raise checks.invalid("confidence", "a number between 0 and 1", confidence)
    rng = np.random.default_rng(checks.seed("seed", seed))
    seeds = rng.integers(len(values), size=(RESAMPLES, len(values)))
    blocks = np.array_split(seeds, -(-RESAMPLES * values.size // _VALUES_AT_ONCE))
    means = []
    for block in blocks:
        pairs = rng.integers(values.shape[1], size=(len(block), values.shape[1]))
        means.append(values[block[:, :, None], pairs[:, None, :]].mean(axis=(1, 2)))
    means = np.concatenate(means)
    tails = (1 - confidence) / 2
    return float(values.mean()), *map(float, np.quantile(means, (tails, 1 - tails)))
