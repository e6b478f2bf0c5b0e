"""The public API as its users call it, for mypy: nothing here is run."""

import numpy as np
import tensorflow as tf

from seatbelt_tf import SeatbeltVAE, attacks, gaussians


class Own:
    """An encoder alone, as in "An encoder with several layers" of docs/extending.md."""

    image_shape = (8, 8, 1)
    latent_dims = (2,)

    def posteriors(self, images: tf.Tensor, noise: object = None) -> tuple[gaussians.Gaussian]:
        del noise
        mean = images[:, 0, :2, 0]
        return (gaussians.Gaussian(mean, tf.ones_like(mean)),)


def attacked(encoder: tf.Module) -> tuple[attacks.AttackResult, ...]:
    model: SeatbeltVAE = SeatbeltVAE((8, 8, 1), (2,))
    victim = attacks.Victim(encoder=encoder)
    images = np.zeros((1, 8, 8, 1), np.float32)
    attacks.score(victim, images, images, images)
    return tuple(attacks.attack(each, images, images, [1.0]) for each in (model, victim, Own()))
