"""Whether a model sees through noise that nobody chose, and how wide its posteriors are."""

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from seatbelt_tf import checks, pixels
from seatbelt_tf.attacks import scoring
from seatbelt_tf.attacks.victim import Attackable, Decodable
from seatbelt_tf.batches import in_batches


def noisy_log_likelihood(
    victim: Decodable, images: ArrayLike, scale: float, seed: int = 0, draws: int = 4
) -> np.ndarray:
    """log p(x | z), z ~ q(z | x + aε), ε ~ Normal(0, I): the clean image from a noisy one (app. F).

    The noise is not cut at the pixels' bounds, as in the paper.

    Args:
        victim: see `attacks.Attackable`; it needs a decoder.
        images: (M, H, W, C) in [-1, 1].
        scale: a ≥ 0; 0 is the clean reconstruction.
        seed: of ε and of the latents.
        draws: draws of z averaged for each image.

    Returns:
        (M,) nats, NumPy.

    Raises:
        ValueError: the scale is negative or not finite, or `images` are not finite images of the
            victim's shape.
    """
    checks.finite_number("scale", scale, minimum=0)
    images = pixels.check_finite(images, victim.image_shape, "images")
    rng = np.random.default_rng(checks.seed("seed", seed))
    noisy = images + np.float32(scale) * rng.standard_normal(images.shape, np.float32)
    return -scoring.Scorer(victim, seed, draws).target_loss(noisy, images)


def stddev_norms(model: Attackable, images: ArrayLike) -> tuple[np.ndarray, ...]:
    """‖σ_i(x)‖₂ of every layer's posterior, ancestors at their means: the overlap of figure 2.

    Args:
        model: see `attacks.Attackable`.
        images: (M, H, W, C) in [-1, 1].

    Returns:
        Tuple of (M,) by layer, bottom first, NumPy.

    Raises:
        ValueError: not finite images of the model's shape.
    """
    images = pixels.check_finite(images, model.image_shape, "images")

    def norms(batch):
        return tf.stack([tf.norm(stddev, axis=1) for _, stddev in model.posteriors(batch)], axis=1)

    return tuple(in_batches(norms, images).T)
