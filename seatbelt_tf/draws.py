"""Standard normal draws by what they are for: without a state, so that all can be repeated."""

import numpy as np
import tensorflow as tf

from seatbelt_tf import replicas

# What noise is for, a part of its seed: no two uses share draws.
TRAINING, EVALUATION, ON_REQUEST, PRIOR, DEFENCES = range(5)


def key(purpose, seed, step=0):
    """(2,) int32, the seed of TensorFlow's stateless functions.

    Args:
        purpose: one of this module's numbers.
        seed: of the model or the caller.
        step: of the training, or another number that tells batches apart.
    """
    words = [tf.cast(seed, tf.int32), tf.cast(step, tf.int32)]
    return tf.random.experimental.stateless_fold_in(words, purpose)


def normal(rows, latent_dims, purpose, seed, step=0):
    """Draws by layer, a function of purpose, seed, step and global row.

    Args:
        rows: M, of this replica.
        latent_dims: units by layer.
        purpose, seed, step: see `key`.

    Returns:
        A tuple of (M, d_i) float32.
    """
    keys = tf.random.experimental.stateless_split(key(purpose, seed, step), len(latent_dims))
    return tuple(
        replicas.normal_noise(rows, units, own)
        for units, own in zip(latent_dims, tf.unstack(keys), strict=True)
    )


def first_seed_of_weights(seed):
    """The first of 2,000 seeds below 2³¹, which is as far as Keras's go, of a model's weights.

    Those of seeds below 2²⁰ are their own, and every other's are drawn.
    """
    if seed < 2**20:
        return 2000 * seed
    return int(np.random.SeedSequence(seed).generate_state(1)[0] % (2**31 - 2000))
