"""Functions of images applied to many of them."""

import numpy as np

BATCH = 200


def in_batches(function, images):
    """A function of (m, H, W, C) images, a batch at a time: (M, H, W, C) -> (M, …), NumPy."""
    starts = range(0, len(images), BATCH)
    return np.concatenate([np.asarray(function(images[s : s + BATCH])) for s in starts])
