"""What simple bounds do to a gradient: positions, gradients and bounds are (n, …) alike."""

import tensorflow as tf


def is_held(position, gradient, lower, upper):
    """Whether a coordinate is at a bound and a step against its gradient would leave the box."""
    return ((position <= lower) & (gradient > 0)) | ((position >= upper) & (gradient < 0))


def projected_step(position, gradient, lower, upper):
    """P(x − g) − x, P the projection onto the box, without the rounding of x − g."""
    return tf.clip_by_value(-gradient, lower - position, upper - position)
