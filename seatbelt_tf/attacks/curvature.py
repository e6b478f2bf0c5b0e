"""Limited memory of curvature, one an item, restricted to that item's free coordinates.

The pairs s = x' - x, y = g' - g of the last m steps define the inverse BFGS matrix H. A coordinate
held at a bound must not take part: with y and s restricted to the free coordinates F, H g_F is

    alpha = R^-1 S'g_F,   delta = R^-T (D alpha - gamma Y'(g_F - Y alpha)),
    H g_F = gamma (g_F - Y alpha) + S delta

where, newest pair first, R is the lower triangle with diagonal of S'Y and D that diagonal: the
two-loop recursion (Nocedal and Wright, algorithm 7.4) written with inner products only, so that a
batch of items is three matrix products and two small triangular solves in float64.
"""

from typing import NamedTuple

import tensorflow as tf

_LEAST_CURVATURE = 1e-10


class CurvatureMemory(NamedTuple):
    """Pairs of n items with m slots: steps and changes (n * (m + 1), D), used as circular buffers.

    Row m of an item is no pair: `changes` holds its current gradient there and `steps` zeros, so
    that one matrix product serves pairs and gradient. next_slot, count: (n,) int32; scale: (n,)
    float64, gamma of the last step.
    """

    steps: tf.Tensor
    changes: tf.Tensor
    next_slot: tf.Tensor
    count: tf.Tensor
    scale: tf.Tensor


def empty(items, memory, dimension, dtype):
    """No pairs yet."""
    shape = tf.stack([items * (memory + 1), dimension])
    # Not tf.zeros: that may be folded into a constant, and `remember` writes in place.
    return CurvatureMemory(
        steps=tf.raw_ops.Empty(shape=shape, dtype=dtype, init=True),
        changes=tf.raw_ops.Empty(shape=shape, dtype=dtype, init=True),
        next_slot=tf.zeros([items], tf.int32),
        count=tf.zeros([items], tf.int32),
        scale=tf.ones([items], tf.float64),
    )


def take(pairs, rows, memory):
    """The same memory for the items `rows` (k,) int32 only."""
    lines = tf.reshape(rows[:, None] * (memory + 1) + tf.range(memory + 1), [-1])
    return CurvatureMemory(
        steps=tf.gather(pairs.steps, lines),
        changes=tf.gather(pairs.changes, lines),
        next_slot=tf.gather(pairs.next_slot, rows),
        count=tf.gather(pairs.count, rows),
        scale=tf.gather(pairs.scale, rows),
    )


def remember(pairs, moved, step, change, gradient, memory):
    """Stores a pair for the items `moved` (n,) bool whose curvature is positive, and the gradient.

    step, change, gradient: (n, D). Both members are divided by the length of the step, which
    changes nothing in H and keeps their products away from underflow.
    """
    wide = tf.float64
    squared = tf.cast(tf.reduce_sum(step * step, -1), wide)
    inverse = tf.math.rsqrt(tf.where(squared > 0.0, squared, 1.0))
    curvature = tf.cast(tf.reduce_sum(step * change, -1), wide) * inverse**2
    largest = tf.cast(tf.reduce_sum(change * change, -1), wide) * inverse**2
    kept = moved & (curvature > _LEAST_CURVATURE * tf.sqrt(largest)) & tf.math.is_finite(largest)
    factor = tf.cast(tf.where(kept, inverse, 0.0), step.dtype)[:, None]
    first = tf.range(tf.shape(step)[0]) * (memory + 1)
    slot = first + tf.where(kept, pairs.next_slot, memory)
    column = kept[:, None]
    # The loop must not copy hundreds of megabytes a step, and tf.tensor_scatter_nd_update does.
    # In place is safe: nothing reads the tensors from before the update.
    steps = tf.raw_ops.InplaceUpdate(
        x=pairs.steps, i=slot, v=tf.where(column, step * factor, tf.zeros_like(step))
    )
    changes = tf.raw_ops.InplaceUpdate(
        x=pairs.changes,
        i=tf.concat([slot, first + memory], 0),
        v=tf.concat([tf.where(column, change * factor, gradient), gradient], 0),
    )
    ratio = curvature / tf.where(largest > 0.0, largest, 1.0)
    return CurvatureMemory(
        steps,
        changes,
        tf.where(kept, (pairs.next_slot + 1) % memory, pairs.next_slot),
        tf.where(kept, tf.minimum(pairs.count + 1, memory), pairs.count),
        tf.where(kept, ratio, pairs.scale),
    )


def quasi_newton(pairs, free, memory):
    """-H g on the free coordinates, 0 elsewhere, and gamma.

    free: (n, D) of the pairs' dtype, 1 or 0; the gradient is the one given to `remember`.
    Returns (n, D) and (n,) float64.
    """
    n, dimension = tf.shape(free)[0], tf.shape(free)[1]
    steps = tf.reshape(pairs.steps, [n, memory + 1, dimension])
    changes = tf.reshape(pairs.changes, [n, memory + 1, dimension]) * free[:, None]
    change_step = tf.cast(tf.matmul(changes, steps, transpose_b=True), tf.float64)
    change_change = tf.cast(tf.matmul(changes, changes, transpose_b=True), tf.float64)

    age = tf.range(memory)
    order = (pairs.next_slot[:, None] - 1 - age) % memory
    rows = tf.concat([order, tf.fill([n, 1], memory)], 1)
    # [j, i] = y_j . s_i and y_j . y_i, newest first, the gradient last.
    change_step = _permute(change_step, rows)[:, :, :-1]
    change_change = _permute(change_change, rows)
    curvature = tf.linalg.diag_part(change_step[:, :-1])
    largest = tf.linalg.diag_part(change_change)[:, :-1]
    usable = (age < pairs.count[:, None]) & (curvature > _LEAST_CURVATURE * tf.sqrt(largest))
    usable &= tf.math.is_finite(largest)
    newest = tf.argmax(usable, -1, output_type=tf.int32)
    ratio = tf.math.divide_no_nan(curvature, largest)
    scale = tf.where(
        tf.reduce_any(usable, -1), tf.gather(ratio, newest, batch_dims=1), pairs.scale
    )[:, None]

    both = usable[:, :, None] & usable[:, None, :]
    lower = tf.linalg.band_part(tf.linalg.matrix_transpose(change_step[:, :-1]), -1, 0)
    lower = tf.where(both, lower, tf.eye(memory, dtype=tf.float64))
    lower = tf.linalg.band_part(lower, -1, 0)
    alpha = _solve(lower, tf.where(usable, change_step[:, -1], 0.0), adjoint=False)
    residual = change_change[:, -1, :-1] - tf.linalg.matvec(
        tf.where(both, change_change[:, :-1, :-1], 0.0), alpha
    )
    right = curvature * alpha - scale * residual
    delta = _solve(lower, tf.where(usable, right, 0.0), adjoint=True)

    back = tf.argsort(rows, axis=-1)
    along_steps = tf.concat([delta, tf.zeros_like(scale)], 1)
    along_changes = tf.concat([-scale * alpha, scale], 1)
    combined = _combine(along_steps, back, steps) * free + _combine(along_changes, back, changes)
    return -combined, scale[:, 0]


def _permute(products, rows):
    """products[b, rows[b, i], rows[b, j]]."""
    products = tf.gather(products, rows, batch_dims=1)
    return tf.gather(products, rows, axis=2, batch_dims=1)


def _solve(triangle, right, adjoint):
    return tf.linalg.triangular_solve(triangle, right[..., None], lower=True, adjoint=adjoint)[
        ..., 0
    ]


def _combine(weights, back, vectors):
    """sum_i weights[b, i] vectors[b, i], the weights put back into the order of the slots."""
    weights = tf.cast(tf.gather(weights, back, batch_dims=1), vectors.dtype)
    return tf.matmul(weights[:, None], vectors)[:, 0]
