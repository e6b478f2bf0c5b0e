"""The mutual information gap of a representation (Chen et al. 2018, equation 6 there)."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import mutual_info_score

from seatbelt_tf import checks


def mutual_information_gap(latents: ArrayLike, factors: ArrayLike, bins: int = 20) -> float:
    """MIG = mean_k (I(z_(1); v_k) − I(z_(2); v_k)) / H(v_k), z_(1), z_(2) the two most informative.

    The definition of Locatello et al. (2019): each latent is cut into bins of equal width, and the
    mutual information is that of the empirical distribution, which is biased upwards by few images.

    Args:
        latents: (M, d), d ≥ 2, such as posterior means.
        factors: (M, K) integers; those that do not vary are left out.
        bins: number of bins of a latent.

    Returns:
        Float between 0 and 1.

    Raises:
        ValueError: shapes that do not fit, fewer than two latents, or no factor that varies.
    """
    latents, factors = np.asarray(latents), np.asarray(factors)
    if latents.ndim != 2 or latents.shape[1] < 2:
        raise checks.invalid("latents.shape", "(M, d) with d ≥ 2", latents.shape)
    if factors.ndim != 2 or len(factors) != len(latents):
        raise checks.invalid("factors.shape", f"({len(latents)}, K)", factors.shape)
    varying = [values for values in factors.T if len(np.unique(values)) > 1]
    if not varying:
        raise checks.invalid("factors", "a factor that varies", "constants")
    checks.positive_integer("bins", bins)
    binned = [
        np.digitize(column, np.histogram_bin_edges(column, bins)[1:-1]) for column in latents.T
    ]
    gaps = []
    for values in varying:
        information = np.sort([mutual_info_score(values, column) for column in binned])
        gaps.append((information[-1] - information[-2]) / mutual_info_score(values, values))
    return float(np.mean(gaps))
