"""Intervals for means over few units of replication."""

import functools

import numpy as np
from numpy.typing import ArrayLike

from seatbelt_tf import checks

RESAMPLES = 10_000
# Values resampled at once, which bounds the memory.
_VALUES_AT_ONCE = 2**22
# Numbers, of 2 bytes at most, that are kept between calls.
_MOST_KEPT = 2**23


def bootstrap_interval(
    values: ArrayLike, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of independent values with its percentile bootstrap interval (Efron 1979).

    Args:
        values: (n,) one number a unit of replication: a pair of images, a training seed; bool for
            a proportion, see `crossed_bootstrap_interval`.
        confidence: coverage, between 0 and 1.
        seed: of the resampling.

    Returns:
        (mean, lower, upper), floats.

    Raises:
        ValueError: values are not (n,), n ≥ 1, or not finite, or the confidence is out of range.
    """
    values = np.asarray(values)
    if values.ndim != 1 or not len(values) or not np.all(np.isfinite(values.astype(float))):
        raise checks.invalid("values", "finite numbers of shape (n,), n ≥ 1", repr(values))
    return crossed_bootstrap_interval(values[None], confidence, seed)


def crossed_bootstrap_interval(
    values: ArrayLike, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Mean with its interval when every training seed was tried on the same pairs.

    Seeds and pairs are resampled independently of each other (Owen 2007, the pigeonhole
    bootstrap). With one seed it says nothing of other seeds, and with few too little: its ends are
    at most the extreme seeds' means. Of proportions that are 0 or 1, of which every resample is
    the same, the interval is that of Clopper and Pearson (1934), of the pairs.

    Args:
        values: (S, P) by training seed and pair; bool for a proportion.
        confidence: see `bootstrap_interval`.
        seed: see `bootstrap_interval`.

    Returns:
        See `bootstrap_interval`.

    Raises:
        ValueError: values are not (S, P), S, P ≥ 1, or not finite, or the confidence out of range.
    """
    is_proportion = np.asarray(values).dtype == bool
    values = _crossed("values", values)
    means = _resampled_means(values[None], seed)[0]
    mean = float(values.mean())
    lower, upper = _ends(means, confidence)
    if is_proportion and mean in (0, 1):
        possible = ((1 - confidence) / 2) ** (1 / values.shape[1])
        lower, upper = (possible, 1.0) if mean else (0.0, 1 - possible)
    return mean, lower, upper


def crossed_ratio_interval(
    values: ArrayLike, reference: ArrayLike, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Ratio of two means with its interval, over the same training seeds and pairs.

    Seeds and pairs are resampled as by `crossed_bootstrap_interval`, alike for both.

    Args:
        values: (S, P) by training seed and pair.
        reference: (S, P) of a positive mean.
        confidence: see `bootstrap_interval`.
        seed: see `bootstrap_interval`.

    Returns:
        (ratio, lower, upper), floats; an end among resamples whose mean of the reference is not
        positive is infinite.

    Raises:
        ValueError: see `crossed_bootstrap_interval`; also two shapes, or a mean of the reference
            that is not positive.
    """
    values, reference = _crossed("values", values), _crossed("reference", reference)
    if values.shape != reference.shape:
        raise checks.invalid("reference.shape", values.shape, reference.shape)
    if reference.mean() <= 0:
        raise checks.invalid("reference", "numbers of a positive mean", reference.mean())
    over, under = _resampled_means(np.stack([values, reference]), seed)
    ratios = np.divide(over, under, out=np.full_like(over, np.inf), where=under > 0)
    return float(values.mean() / reference.mean()), *_ends(ratios, confidence)


def _crossed(name: str, values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not values.size or not np.all(np.isfinite(values)):
        raise checks.invalid(name, "finite numbers of shape (S, P), S, P ≥ 1", repr(values))
    return values


def _resampled_means(arrays, seed):
    """Means of (A, S, P) arrays over the same resampled seeds and pairs: (A, RESAMPLES).

    Weighted by how often a seed and a pair were drawn, which takes a sixth of the time that
    gathering every value takes.
    """
    _, count, width = arrays.shape
    draws = _kept_draws if RESAMPLES * (count + width) <= _MOST_KEPT else _draws
    means = [
        np.einsum("asn,ns->an", arrays @ pairs.T.astype(np.float64), seeds)
        for seeds, pairs in draws(checks.seed("seed", seed), count, width)
    ]
    return np.concatenate(means, axis=1) / (count * width)


def _draws(seed, count, width):
    """Blocks of N resamples: how often each seed, (N, count), and pair, (N, width), was drawn."""
    rng = np.random.default_rng(seed)
    seeds = rng.integers(count, size=(RESAMPLES, count))
    for block in np.array_split(seeds, -(-RESAMPLES * count * width // _VALUES_AT_ONCE)):
        pairs = rng.integers(width, size=(len(block), width))
        yield _times_drawn(block), _times_drawn(pairs)


@functools.lru_cache(maxsize=4)
def _kept_draws(seed, count, width):
    """`_draws`, kept: a report has hundreds of intervals of the same seeds and pairs."""
    return tuple(_draws(seed, count, width))


def _times_drawn(draws):
    """How often each of n numbers is in a row: (N, n) for N rows of n draws below n."""
    rows, n = draws.shape
    places = draws + n * np.arange(rows)[:, None]
    counts = np.bincount(places.ravel(), minlength=rows * n).reshape(rows, n)
    return counts.astype(np.min_scalar_type(n))


def _ends(means: np.ndarray, confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise checks.invalid("confidence", "a number between 0 and 1", confidence)
    tails = (1 - confidence) / 2
    # Between infinity and anything NumPy's interpolation may be NaN.
    with np.errstate(invalid="ignore"):
        ends = np.quantile(means, (tails, 1 - tails))
    if not np.all(np.isfinite(ends)):
        above = np.quantile(means, (tails, 1 - tails), method="higher")
        ends = np.where(np.isfinite(ends), ends, above)
    lower, upper = map(float, ends)
    return lower, upper
