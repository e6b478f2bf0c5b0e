"""Distortions within an L2 ball and the pixel box: projection and projected gradient ascent."""

import tensorflow as tf

from seatbelt_tf import gaussians

# Halves of an interval within [0, 1]: to float32's precision.
_BISECTIONS = 25


def norms(distortions):
    """‖d‖₂ of each row: (M, H, W, C) -> (M,), with gradient 0 at 0."""
    return gaussians.safe_norm(tf.reshape(distortions, [tf.shape(distortions)[0], -1]))


def unit(vectors):
    """Each row divided by its norm, 0 where that is 0: (M, H, W, C) -> the same."""
    lengths = norms(vectors)
    return vectors * tf.math.divide_no_nan(1.0, lengths)[:, None, None, None]


def project(distortions, images, radius, bounds=(-1.0, 1.0)):
    """The nearest distortions with ‖d‖₂ ≤ radius and images + d within the bounds.

    By its optimality conditions the projection of v is clip(v / (1 + μ)) for the least μ ≥ 0 at
    which it is in the ball; its norm falls as μ rises, so that bisection finds μ. The upper end of
    the last interval is taken: the result is never outside.

    Args:
        distortions: (M, H, W, C) v.
        images: (M, H, W, C) within the bounds.
        radius: () or (M,) ≥ 0.
        bounds: (lower, upper) of the pixels.

    Returns:
        (M, H, W, C).
    """
    lower, upper = bounds[0] - images, bounds[1] - images
    radius = tf.broadcast_to(tf.cast(radius, tf.float32), tf.shape(images)[:1])

    def clipped(factors):
        return tf.clip_by_value(distortions * factors[:, None, None, None], lower, upper)

    # In terms of 1 / (1 + μ), which is at most 1 and enough where ‖v / (1 + μ)‖ is the radius.
    low = tf.minimum(tf.math.divide_no_nan(radius, norms(distortions)), 1.0)
    high = tf.ones_like(low)
    is_inside = norms(clipped(high)) <= radius
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        fits = norms(clipped(middle)) <= radius
        low, high = tf.where(fits, middle, low), tf.where(fits, high, middle)
    return clipped(tf.where(is_inside, 1.0, low))


def feasible(distortions, images, radius):
    """Distortions in the ball and within [-1, 1], by shrinking, then clipping: not the nearest.

    Clipping only shortens what is already in the ball, since images are in the box. A fraction of
    the exact projection's time, which counts in a training step.
    """
    factors = tf.minimum(tf.math.divide_no_nan(radius, norms(distortions)), 1.0)
    factors = tf.where(norms(distortions) > 0, factors, 1.0)
    distortions *= factors[:, None, None, None]
    return tf.clip_by_value(images + distortions, -1.0, 1.0) - images


def ascend(value, images, radius, steps, start):
    """Distortions found by a few projected-gradient steps that raise a function of the images.

    d ← P(d + radius · g / ‖g‖): for a quadratic, and nearly for any function that a distortion
    takes far from its minimum, this is the power method, and two steps go most of the way. Where
    the maximum is well inside the ball, as a target within reach is, steps this long overshoot it.

    Args:
        value: function of (M, H, W, C) images, differentiable: -> (M,).
        images: (M, H, W, C) within [-1, 1].
        radius: ().
        steps: number of gradients, a Python int.
        start: (M, H, W, C) directions to start in; half the radius is gone.

    Returns:
        (M, H, W, C), no gradient flows back through it.
    """
    distortions = feasible(unit(start) * radius / 2, images, radius)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            tape.watch(distortions)
            values = value(images + distortions)
        gradients = tape.gradient(values, distortions)
        distortions = feasible(distortions + radius * unit(gradients), images, radius)
    return tf.stop_gradient(distortions)
