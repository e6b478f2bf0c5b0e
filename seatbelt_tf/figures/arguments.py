"""What the figures accept, checked: every function returns its argument as an array."""

import numpy as np
from numpy.typing import ArrayLike

from seatbelt_tf import checks


def mean_and_interval(name, value, count):
    """(count,) means, and (2, count) ends of an interval or None."""
    has_interval = isinstance(value, tuple) and len(value) == 2 and np.ndim(value[0]) == 1
    mean = vector(name, value[0] if has_interval else value, count)
    if not has_interval:
        return mean, None
    interval = np.asarray(value[1], dtype=np.float64)
    if interval.shape != (2, count) or not np.isfinite(interval).all():
        raise checks.invalid(name, f"a finite interval of shape (2, {count})", interval)
    if np.any(interval[0] > interval[1]):
        raise checks.invalid(
            name, "lower ends of the interval that are not above the upper", interval
        )
    return mean, interval


def images(
    name: str, value: ArrayLike, shape: tuple[int, ...] | None = None, *, rank: int = 4
) -> np.ndarray:
    """Finite floating-point images with one or three channels, (M, H, W, C) float64."""
    value = np.asarray(value)
    if value.dtype.kind in "iub":
        raise checks.invalid(name, "floating-point images in [-1, 1]", f"dtype {value.dtype}")
    axes = "(M, H, W, C)" if rank == 4 else "(units, steps, H, W, C)"
    if value.ndim != rank or value.shape[-1] not in (1, 3) or 0 in value.shape:
        raise checks.invalid(
            name, f"shape {axes}, not empty, with C = 1 or 3", f"shape {value.shape}"
        )
    if shape is not None and value.shape != shape:
        raise checks.invalid(name, f"shape {shape}, that of the images", f"shape {value.shape}")
    value = value.astype(np.float64)
    if not np.isfinite(value).all():
        count = np.count_nonzero(~np.isfinite(value))
        raise checks.invalid(name, "finite values", f"{count} that are not")
    return value


def vector(
    name: str, value: ArrayLike, length: int | None = None, *, finite: bool = True
) -> np.ndarray:
    """Numbers (n,) float64, n ≥ 1."""
    value = np.asarray(value, dtype=np.float64)
    if value.ndim != 1 or not value.size or length not in (None, value.size):
        wanted = "a non-empty vector" if length is None else f"shape ({length},)"
        raise checks.invalid(name, wanted, f"shape {value.shape}")
    if finite and not np.isfinite(value).all():
        raise checks.invalid(name, "finite values", value)
    return value


def labels(name, labels, count):
    """`count` strings, or None for None."""
    if labels is None:
        return None
    labels = [str(label) for label in labels]
    if len(labels) != count:
        raise checks.invalid(name, f"{count} labels", labels)
    return labels
