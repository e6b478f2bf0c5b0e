"""Scores and samples whose draws are seeded row by row: no row depends on the others' or on M.

`SeatbeltVAE.elbo` and `sample` draw for a batch at once, which is what training wants. A server
mixes the requests of many clients in one batch, so there each row brings its own seed: row m gets
what a batch of that row alone would get.
"""

from typing import NamedTuple

import tensorflow as tf

from seatbelt_tf import draws, objectives


class Score(NamedTuple):
    """How well a model explains each image, nats; elbo = log_likelihood − kl.

    Attributes:
        elbo: (M,) evidence lower bound without penalty or free bits.
        log_likelihood: (M,) log p(x | z) at the drawn latents.
        kl: (M,) the divergence terms of all layers, summed.
    """

    elbo: tf.Tensor
    log_likelihood: tf.Tensor
    kl: tf.Tensor


def score(model, images, seeds):
    """`SeatbeltVAE.elbo` and its parts with a seed for every row; nothing is checked.

    Row m equals `model.elbo(images[m:m+1], seed=seeds[m, 0])` where seeds[m, 1] is 0.

    Args:
        model: a `SeatbeltVAE`.
        images: (M, H, W, C) float32 in [-1, 1].
        seeds: (M, 2) int32, any values.

    Returns:
        `Score`.
    """
    inference = model._infer(images, _noise(model, seeds, draws.ON_REQUEST))
    likelihood = model.log_likelihood(images, inference.samples)
    kl = objectives.elbo_divergence(inference, model.kl_estimator)
    return Score(likelihood - kl, likelihood, kl)


def sample(model, seeds):
    """Mean images of latents drawn from the prior with a seed for every row; nothing is checked.

    Row m equals `model.sample(1, seed=seeds[m, 0])` where seeds[m, 1] is 0.

    Args:
        model: a `SeatbeltVAE`.
        seeds: (M, 2) int32, any values.

    Returns:
        (M, H, W, C) float32.
    """
    return model._sample(_noise(model, seeds, draws.PRIOR))


def _noise(model, seeds, purpose):
    """Standard normal draws by layer, tuple of (M, d_i): those of `model` for each row alone."""

    def draw(seed):
        return tf.concat(draws.normal(1, model.latent_dims, purpose, *tf.unstack(seed)), axis=1)[0]

    spec = tf.TensorSpec([sum(model.latent_dims)], tf.float32)
    rows = tf.map_fn(draw, seeds, fn_output_signature=spec)
    return tuple(tf.split(rows, model.latent_dims, axis=1))
