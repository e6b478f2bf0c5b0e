"""Projected Adam behind the box-constrained call: a first-order method to check others."""

import math

import tensorflow as tf

from seatbelt_tf.attacks import box
from seatbelt_tf.attacks.box_result import BoxResult, Status

# Steps start at this share of the box's width (or of 1 where it has none) and decay to 0.
_FIRST_STEP = 0.02
_MOMENTUM, _SQUARED_MOMENTUM, _SMALLEST = 0.9, 0.99, 1e-12


def minimize(value_and_gradients, initial, lower, upper, max_evaluations, memory, tolerance):
    """`minimize_in_box` by Adam (Kingma and Ba 2015), each step projected; arguments checked there.

    Cosine decay over `max_evaluations`, the best point seen is returned. No line search and no
    curvature: `memory` is not used.
    """
    del memory
    dtype = initial.dtype
    rows = tf.range(tf.shape(initial)[0])
    width = upper - lower
    step_size = _FIRST_STEP * tf.where(tf.math.is_finite(width), width, tf.ones_like(width))

    def evaluate(position):
        value, gradient = value_and_gradients(position, rows)
        return value, gradient, box.projected_norm(position, gradient, lower, upper)

    def step(count, position, gradient, first, second, best):
        time = tf.cast(count, dtype)
        first = _MOMENTUM * first + (1 - _MOMENTUM) * gradient
        second = _SQUARED_MOMENTUM * second + (1 - _SQUARED_MOMENTUM) * tf.square(gradient)
        decay = 0.5 * (1 + tf.cos(math.pi * (time - 1) / tf.cast(max_evaluations, dtype)))
        mean = first / (1 - tf.pow(tf.cast(_MOMENTUM, dtype), time))
        scale = tf.sqrt(second / (1 - tf.pow(tf.cast(_SQUARED_MOMENTUM, dtype), time))) + _SMALLEST
        position = tf.clip_by_value(position - decay * step_size * mean / scale, lower, upper)
        value, gradient, norm = evaluate(position)
        better = (value < best[1]) & tf.reduce_all(tf.math.is_finite(gradient), axis=-1)
        column = better[:, None]
        best = (
            tf.where(column, position, best[0]),
            tf.where(better, value, best[1]),
            tf.where(better, norm, best[2]),
        )
        # A NaN must not enter the means of the gradients, which would keep it.
        gradient = tf.where(tf.math.is_finite(gradient), gradient, tf.zeros_like(gradient))
        return count + 1, position, gradient, first, second, best

    start = tf.clip_by_value(initial, lower, upper)
    value, gradient, norm = evaluate(start)
    is_finite = tf.math.is_finite(value) & tf.reduce_all(tf.math.is_finite(gradient), axis=-1)
    gradient = tf.where(is_finite[:, None], gradient, tf.zeros_like(gradient))
    nothing = tf.zeros_like(start)
    state = (1, start, gradient, nothing, nothing, (start, value, norm))
    *_, (position, best_value, best_norm) = tf.while_loop(
        lambda count, *_: count < max_evaluations, step, state
    )

    status = tf.fill(tf.shape(value), int(Status.EVALUATION_LIMIT))
    status = tf.where(box.is_optimal(position, best_norm, tolerance), int(Status.CONVERGED), status)
    status = tf.where(box.is_optimal(start, norm, tolerance), int(Status.OPTIMAL_AT_START), status)
    status = tf.where(is_finite, status, int(Status.NOT_FINITE))
    evaluations = tf.fill(tf.shape(value), max_evaluations)
    return BoxResult(position, best_value, best_norm, evaluations, status)
