"""The batched quasi-Newton method: many problems, each at its own stage of its own iteration.

A round evaluates one trial point of every item still running. An item whose line search accepts it
moves there, learns its curvature and gets a new direction; another gets its next trial on the old
one. Rows of items that ended are dropped from the arrays once they are a fifth of them.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from seatbelt_tf.attacks import box, curvature, line_search
from seatbelt_tf.attacks.box_result import BoxResult, Status

_RUNNING = -1
_PADDING = -2
# A value is taken to be known to this many units in its last place.
_VALUE_ROUNDING = 10.0
# Evaluations without progress at which a step forgets the pairs; after twice as many an item ends.
_PATIENCE = 30
_NORM_PROGRESS = 0.9


class _Problem(NamedTuple):
    value_and_gradients: object
    max_evaluations: int
    memory: int
    tolerance: float


class _Items(NamedTuple):
    """State of n items; (n, D) of the problem's dtype, or (n,)."""

    item: tf.Tensor  # int32, which problem
    status: tf.Tensor  # int32, a Status, _RUNNING or _PADDING
    lower: tf.Tensor
    upper: tf.Tensor
    position: tf.Tensor
    value: tf.Tensor  # float64
    gradient: tf.Tensor
    target: tf.Tensor  # where the step 1 of the line search ends
    longest: tf.Tensor  # float64, the longest step of the line search
    best_position: tf.Tensor
    best_value: tf.Tensor  # float64
    best_norm: tf.Tensor
    evaluations: tf.Tensor  # int32
    idle: tf.Tensor  # int32, evaluations since the last progress
    reference_value: tf.Tensor  # float64, at the last progress
    reference_norm: tf.Tensor
    search: line_search.LineSearch
    curvature: curvature.Curvature


def minimize(value_and_gradients, initial, lower, upper, max_evaluations, memory, tolerance):
    """`minimize_in_box` with the projected limited-memory BFGS; arguments checked there."""
    problem = _Problem(value_and_gradients, max_evaluations, memory, tolerance)
    items = _start(problem, initial, lower, upper)
    batch, dtype = tf.shape(initial)[0], initial.dtype
    result = BoxResult(
        position=initial,
        value=tf.zeros([batch], dtype),
        projected_gradient_norm=tf.zeros([batch], dtype),
        evaluations=tf.zeros([batch], tf.int32),
        status=tf.zeros([batch], tf.int32),
    )

    def stage(items, result):
        (items,) = tf.while_loop(
            _is_dense, lambda items: (_round(problem, items),), (items,), parallel_iterations=1
        )
        return _drop_finished(items), _store(items, result)

    any_rows = tf.nest.map_structure(lambda part: tf.TensorShape([None, *part.shape[1:]]), items)
    same = tf.nest.map_structure(lambda part: part.shape, result)
    _, result = tf.while_loop(
        lambda items, _: tf.reduce_any(items.status == _RUNNING),
        stage,
        (items, result),
        shape_invariants=(any_rows, same),
        parallel_iterations=1,
    )
    return result


def _start(problem, initial, lower, upper):
    # Two rows at least: TensorFlow adds up a single row in another order than one of many.
    batch = tf.shape(initial)[0]
    rows = tf.range(tf.maximum(batch, 2))
    item = tf.minimum(rows, batch - 1)
    lower, upper = tf.gather(lower, item), tf.gather(upper, item)
    position = tf.clip_by_value(tf.gather(initial, item), lower, upper)
    unknown = tf.fill(tf.shape(item), tf.constant(float("inf"), tf.float64))
    unknown_norm = tf.cast(unknown, initial.dtype)
    nothing = tf.zeros_like(item)
    return _Items(
        item=item,
        status=tf.where(rows < batch, _RUNNING, _PADDING),
        lower=lower,
        upper=upper,
        position=position,
        value=unknown,
        gradient=tf.zeros_like(position),
        target=position,
        longest=tf.ones_like(unknown),
        best_position=position,
        best_value=unknown,
        best_norm=unknown_norm,
        evaluations=nothing,
        idle=nothing,
        reference_value=unknown,
        reference_norm=unknown_norm,
        search=line_search.begin(tf.zeros_like(unknown), tf.zeros_like(unknown)),
        curvature=curvature.empty(tf.size(item), problem.memory, initial.shape[1], initial.dtype),
    )


def _is_dense(items):
    running = tf.reduce_sum(tf.cast(items.status == _RUNNING, tf.int32))
    finished = tf.reduce_sum(tf.cast(items.status >= 0, tf.int32))
    return (running > 0) & (4 * finished <= running)


def _drop_finished(items):
    rows = tf.cast(tf.where(items.status == _RUNNING)[:, 0], tf.int32)
    count = tf.size(rows)
    rows = tf.concat([rows, tf.zeros([tf.maximum(2 - count, 0)], tf.int32)], 0)
    kept = tf.nest.map_structure(lambda part: tf.gather(part, rows), items._replace(curvature=()))
    status = tf.where(tf.range(tf.size(rows)) < count, _RUNNING, _PADDING)
    return kept._replace(status=status, curvature=curvature.take(items.curvature, rows))


def _store(items, result):
    """Writes the items that ended into the result."""
    rows = tf.where(items.status >= 0)[:, 0]
    where = tf.gather(items.item, rows)[:, None]
    ended = BoxResult(
        position=items.best_position,
        value=tf.cast(items.best_value, items.position.dtype),
        projected_gradient_norm=items.best_norm,
        evaluations=items.evaluations,
        status=items.status,
    )
    return tf.nest.map_structure(
        lambda whole, part: tf.tensor_scatter_nd_update(whole, where, tf.gather(part, rows)),
        result,
        ended,
    )


def _evaluate(problem, positions, items):
    """Values (n,) float64 and gradients (n, D) of the rows that run; others get any."""
    running = items.status == _RUNNING
    rows = tf.cast(tf.where(running)[:, 0], tf.int32)
    rows = tf.concat([rows, tf.repeat(rows[:1], tf.maximum(2 - tf.size(rows), 0))], 0)
    trials = tf.ensure_shape(tf.gather(positions, rows), [None, positions.shape[1]])
    values, gradients = problem.value_and_gradients(trials, tf.gather(items.item, rows))
    back = tf.maximum(tf.cumsum(tf.cast(running, tf.int32)) - 1, 0)
    return tf.cast(tf.gather(values, back), tf.float64), tf.gather(gradients, back)


def _round(problem, items):
    """One evaluation of every running item and all that follows from it."""
    dtype = items.position.dtype
    rounding = _VALUE_ROUNDING * np.finfo(dtype.as_numpy_dtype).eps
    running = items.status == _RUNNING
    is_first = items.evaluations == 0

    step = tf.cast(items.search.step, dtype)[:, None]
    direction = items.target - items.position
    unclipped = items.position + step * direction
    trial = tf.clip_by_value(unclipped, items.lower, items.upper)
    # Exactly the target: coordinates that it has on a bound must be there exactly.
    trial = tf.where(step == 1.0, items.target, trial)
    value, gradient = _evaluate(problem, trial, items)
    evaluations = items.evaluations + tf.cast(running, tf.int32)

    norm = _projected_norm(trial, gradient, items)
    finite = tf.math.is_finite(value) & tf.reduce_all(tf.math.is_finite(gradient), -1)
    moving = (step <= 1.0) | (unclipped == trial)
    slope = tf.where(moving, gradient * direction, tf.cast(0.0, dtype))
    slope = tf.cast(tf.reduce_sum(slope, -1), tf.float64)
    accepted, failed, search = line_search.advance(
        items.search, tf.where(finite, value, float("inf")), slope, items.longest, rounding
    )
    accepted = running & finite & (accepted | is_first)
    failed = running & ~is_first & failed

    is_optimal = accepted & box.is_optimal(trial, norm, problem.tolerance)
    tied = value <= items.best_value + rounding * tf.abs(items.best_value)
    better = running & finite & ((value < items.best_value) | (is_optimal & tied))

    reference = items.reference_value
    lower_value = value < reference - rounding / _VALUE_ROUNDING * tf.abs(reference)
    progress = finite & (is_first | lower_value | (norm < _NORM_PROGRESS * items.reference_norm))
    idle = tf.where(progress, 0, items.idle + 1)

    stuck = (failed & (items.curvature.count == 0)) | (running & (idle >= 2 * _PATIENCE))
    restarted = (failed & ~stuck) | (accepted & (idle == _PATIENCE))

    status = items.status
    status = tf.where(stuck, int(Status.LINE_SEARCH_FAILED), status)
    over = running & (evaluations >= problem.max_evaluations)
    status = tf.where(over, int(Status.EVALUATION_LIMIT), status)
    at_start = tf.where(is_first, int(Status.OPTIMAL_AT_START), int(Status.CONVERGED))
    status = tf.where(is_optimal, at_start, status)
    status = tf.where(running & is_first & ~finite, int(Status.NOT_FINITE), status)

    column = accepted[:, None]
    moved = items._replace(
        status=status,
        position=tf.where(column, trial, items.position),
        value=tf.where(accepted, value, items.value),
        gradient=tf.where(column, gradient, items.gradient),
        best_position=tf.where(better[:, None], trial, items.best_position),
        best_value=tf.where(better, value, items.best_value),
        best_norm=tf.where(better, norm, items.best_norm),
        evaluations=evaluations,
        idle=idle,
        reference_value=tf.where(progress, tf.minimum(value, reference), reference),
        reference_norm=tf.where(
            progress, tf.minimum(norm, items.reference_norm), items.reference_norm
        ),
        search=search,
    )
    return _turn(items, moved, accepted | restarted, restarted, accepted & is_first)


def _turn(before, items, turning, restarted, is_first):
    """New directions and line searches for the items `turning`, (n,) bool.

    restarted, is_first: (n,) bool, those that forget their pairs and those that have none yet.
    """
    position, gradient, lower, upper = items.position, items.gradient, items.lower, items.upper
    held = box.is_held(position, gradient, lower, upper)
    nothing = tf.cast(0.0, gradient.dtype)
    free_gradient = tf.where(held, nothing, gradient)
    step = position - before.position
    change = gradient - before.gradient
    memory, products = curvature.learn(items.curvature, step, change, held, free_gradient)
    memory = curvature.forget(memory, restarted)
    step = tf.where(held, nothing, curvature.propose(memory, products, free_gradient, held))

    def aim(step):
        unclipped = position + step
        target = tf.clip_by_value(unclipped, lower, upper)
        is_cut = tf.reduce_any(target != unclipped, -1)
        return target, _dot(gradient, target - position), is_cut

    target, slope, is_cut = aim(step)
    # Cut at the bounds, a descent direction may ascend: the projected gradient never does.
    ascends = turning & (is_first | ~(slope < 0.0))

    def steepest():
        # Before any curvature is known the first step is -g / |P(x - g) - x|.
        projected = box.projected_step(position, gradient, lower, upper)
        length = tf.sqrt(_dot(projected, projected))
        theta = tf.where(is_first, length, memory.theta)
        descent = -free_gradient / tf.cast(theta, gradient.dtype)[:, None]
        return *aim(tf.where(ascends[:, None], descent, step)), theta

    target, slope, is_cut, theta = tf.cond(
        tf.reduce_any(ascends), steepest, lambda: (target, slope, is_cut, memory.theta)
    )
    memory = curvature.forget(memory, ascends)._replace(theta=theta)

    begun = line_search.begin(items.value, slope)
    longest = tf.where(is_cut, tf.ones_like(slope), float("inf"))
    return items._replace(
        target=tf.where(turning[:, None], target, items.target),
        longest=tf.where(turning, longest, items.longest),
        search=tf.nest.map_structure(
            lambda new, old: tf.where(turning, new, old), begun, items.search
        ),
        curvature=memory,
    )


def _projected_norm(position, gradient, items):
    return box.projected_norm(position, gradient, items.lower, items.upper)


def _dot(left, right):
    return tf.cast(tf.reduce_sum(left * right, -1), tf.float64)
