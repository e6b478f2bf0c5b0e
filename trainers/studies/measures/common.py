"""What measures share."""

import numpy as np

# Of pairs, attacks and samples.
SEED = 0


def l2_norms(images):
    """L2 norms of images: (M, H, W, C) -> (M,)."""
    return np.linalg.norm(np.reshape(images, (len(images), -1)), axis=1)


def squared_errors(rebuilt, images):
    """Squared L2 distances of images, two (M, H, W, C): -> (M,)."""
    return np.square(l2_norms(rebuilt - images))
