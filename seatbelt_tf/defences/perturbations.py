"""What training against attacks maximises, as functions of the attacked images."""

import tensorflow as tf

from seatbelt_tf import gaussians, replicas


def divergence(first, second):
    """Σ_i KL(first_i ‖ second_i) of two tuples of `Gaussian`s by layer: -> (M,), nats."""
    return tf.add_n([gaussians.kl(*pair) for pair in zip(first, second, strict=True)])


def encoded(model, images):
    """The encoder's posteriors by layer, ancestors at their means: a tuple of `Gaussian`s."""
    return model._infer(images, None).posteriors


def reconstructed(model, images):
    """The reconstruction with every latent at its mean: (M, H, W, C) -> the same."""
    return model._decode(model._infer(images, None).samples)


def goal(attack, model, images):
    """What an attack on a batch of images raises, ancestors and latents at their means.

    "shift": ‖reconstruction(x + d) − reconstruction(x)‖²; "divergence": Σ_i KL(q(z^i | x + d) ‖
    q(z^i | x)); "target": −‖reconstruction(x + d) − reconstruction(x_t)‖²; "target_latent":
    −Σ_i KL(q(z^i | x + d) ‖ q(z^i | x_t)). The target x_t is the next image of the global batch.

    Args:
        attack: one of `settings.ATTACKS`.
        model: a `SeatbeltVAE`.
        images: (M, H, W, C) x.

    Returns:
        A function of (M, H, W, C) attacked images: -> (M,).
    """
    ends = images
    if attack in ("target", "target_latent"):
        everything = replicas.gather(images)
        following = replicas.row_numbers(tf.shape(images)[0]) + 1
        ends = tf.gather(everything, following % tf.shape(everything)[0])
    # Targets are further away than x itself, which is where the others begin.
    sign = 1.0 if ends is images else -1.0
    view, discrepancy = {
        "shift": (reconstructed, _squared_distance),
        "target": (reconstructed, _squared_distance),
        "divergence": (encoded, divergence),
        "target_latent": (encoded, divergence),
    }[attack]
    end = tf.nest.map_structure(tf.stop_gradient, view(model, ends))
    return lambda attacked: sign * discrepancy(view(model, attacked), end)


def _squared_distance(first, second):
    return tf.reduce_sum(tf.square(first - second), axis=[1, 2, 3])
