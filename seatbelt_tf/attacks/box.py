"""What simple bounds do to a gradient: positions, gradients and bounds are (n, …) alike."""

import tensorflow as tf


def is_held(position, gradient, lower, upper):
    """Whether a coordinate is at a bound and a step against its gradient would leave the box."""
    return ((position <= lower) & (gradient > 0)) | ((position >= upper) & (gradient < 0))


def projected_step(position, gradient, lower, upper):
    """P(x − g) − x, P the projection onto the box, without the rounding of x − g."""
    return tf.clip_by_value(-gradient, lower - position, upper - position)


def projected_norm(position, gradient, lower, upper):
    """max |P(x − g) − x| of every item: -> (n,)."""
    return tf.reduce_max(tf.abs(projected_step(position, gradient, lower, upper)), -1)


def is_optimal(position, norm, tolerance):
    """Whether a projected norm is small enough: norm <= tolerance · max(1, max |x|), (n,)."""
    largest = tf.reduce_max(tf.abs(position), -1)
    return norm <= tolerance * tf.maximum(tf.cast(1, position.dtype), largest)
