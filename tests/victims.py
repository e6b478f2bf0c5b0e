"""Victims with known answers, of one latent layer."""

import numpy as np
import tensorflow as tf

from seatbelt_tf import gaussians


class OneLayer:
    """q(z | x) = Normal(mean(x), stddev²) in the shapes that attacks ask for; victims have a mean.

    Args:
        stddev: a number, or one a unit.
    """

    image_shape = (4, 4, 1)

    def __init__(self, stddev):
        self.stddev = stddev

    def posteriors(self, images, noise=None):
        mean = self.mean(images)
        posterior = gaussians.Gaussian(mean, tf.broadcast_to(self.stddev, tf.shape(mean)))
        if noise is None:
            return (posterior,)
        draws = noise[0].shape[0]
        return (gaussians.Gaussian(*(tf.repeat(t[:, None], draws, axis=1) for t in posterior)),)

    def priors(self, latents):
        return (gaussians.standard(latents[0]),)


class Linear(OneLayer):
    """Mean A x, decoder B z, whose squared error is the likelihood: attacks have closed forms."""

    def __init__(self, stddev=0.5, units=3):
        super().__init__(stddev)
        rng = np.random.default_rng(0)
        self.encoder = (rng.normal(size=(16, units)) / 4).astype(np.float32)
        self.decoder = rng.normal(size=(units, 16)).astype(np.float32)
        self.latent_dims = (units,)

    def mean(self, images):
        return tf.reshape(images, [-1, 16]) @ self.encoder

    def decode(self, latents):
        return tf.reshape(latents[0] @ self.decoder, [-1, 4, 4, 1])

    def log_likelihood(self, images, latents):
        return -tf.reduce_sum(tf.square(images - self.decode(latents)), axis=[1, 2, 3])


class Copy(OneLayer):
    """z = x, decoded to itself, with a squared error as likelihood."""

    latent_dims = (16,)

    def mean(self, images):
        return tf.reshape(images, [-1, 16])

    def decode(self, latents):
        return tf.reshape(latents[0], [-1, 4, 4, 1])

    def log_likelihood(self, images, latents):
        return -tf.reduce_sum(tf.square(tf.reshape(images, [-1, 16]) - latents[0]), axis=1)
