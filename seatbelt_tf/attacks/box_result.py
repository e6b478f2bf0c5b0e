"""What a batched minimisation returns."""

import enum
from typing import NamedTuple

import tensorflow as tf


class Status(enum.IntEnum):
    """How the minimisation of one item ended.

    CONVERGED: the projected gradient is within the tolerance. EVALUATION_LIMIT: the evaluations
    were used up. LINE_SEARCH_FAILED: no step lowers the value by more than its rounding error, not
    even along the projected gradient. NOT_FINITE: value or gradient is not finite at the start.
    OPTIMAL_AT_START: the projected gradient is within the tolerance at the start already.
    """

    CONVERGED = 0
    EVALUATION_LIMIT = 1
    LINE_SEARCH_FAILED = 2
    NOT_FINITE = 3
    OPTIMAL_AT_START = 4


class BoxResult(NamedTuple):
    """Result of `minimize_in_box` for B items of D coordinates.

    Attributes:
        position: (B, D), the best point evaluated, inside the box.
        value: (B,), the value there.
        projected_gradient_norm: (B,), max |P(x - g) - x| there, P the projection onto the box.
        evaluations: (B,) int32, values that the item was given; with "tfp" and "adam", which go in
            step, as many as the longest item's.
        status: (B,) int32, a `Status`.
    """

    position: tf.Tensor
    value: tf.Tensor
    projected_gradient_norm: tf.Tensor
    evaluations: tf.Tensor
    status: tf.Tensor
