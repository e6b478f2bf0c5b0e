"""Functions of images applied to many of them, and their norms."""

import numpy as np
import tensorflow as tf

from seatbelt_tf import checks


def in_batches(function, *arrays, size=200):
    """A function of rows applied to `size` of them at a time, which bounds the memory.

    Args:
        function: of nested arrays of leading dimension m -> nested arrays of leading dimension m.
        *arrays: its arguments, of leading dimension M.
        size: m at most.

    Returns:
        What the function returns, of leading dimension M, NumPy.

    Raises:
        ValueError: M is 0.
    """
    count = len(tf.nest.flatten(arrays)[0])
    if not count:
        raise checks.invalid("images", "at least one", 0)
    parts = [
        function(*tf.nest.map_structure(lambda array, k=start: array[k : k + size], arrays))
        for start in range(0, count, size)
    ]
    return tf.nest.map_structure(lambda *pieces: np.concatenate(pieces), *parts)


def l2_norms(images):
    """L2 norms of images: (M, H, W, C) -> (M,)."""
    return np.linalg.norm(np.reshape(images, (len(images), -1)), axis=1)
