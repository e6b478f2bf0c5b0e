"""What measures share."""

import numpy as np

from seatbelt_tf.batches import l2_norms

# Of pairs, attacks and samples.
SEED = 0


def squared_errors(rebuilt, images):
    """Squared L2 distances of images, two (M, H, W, C): -> (M,)."""
    return np.square(l2_norms(rebuilt - images))
