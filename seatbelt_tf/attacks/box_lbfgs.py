"""Batched minimisation with simple bounds."""

import enum
from typing import NamedTuple

import tensorflow as tf

from seatbelt_tf.attacks import curvature, line_search


class Status(enum.IntEnum):
    """How the minimisation of one item ended."""

    CONVERGED = 0
    EVALUATION_LIMIT = 1
    LINE_SEARCH_FAILED = 2
    NOT_FINITE = 3
    OPTIMAL_AT_START = 4


_RUNNING = -1
_PADDING = -2


class BoxResult(NamedTuple):
    position: tf.Tensor
    value: tf.Tensor
    projected_gradient_norm: tf.Tensor
    evaluations: tf.Tensor
    status: tf.Tensor


class _State(NamedTuple):
    item: tf.Tensor
    lower: tf.Tensor
    upper: tf.Tensor
    position: tf.Tensor
    value: tf.Tensor
    gradient: tf.Tensor
    target: tf.Tensor
    longest: tf.Tensor
    best_position: tf.Tensor
    best_value: tf.Tensor
    best_norm: tf.Tensor
    evaluations: tf.Tensor
    status: tf.Tensor
    fresh: tf.Tensor
    search: line_search.LineSearch
    pairs: curvature.CurvatureMemory


def minimise(value_and_gradients, initial, lower, upper, max_evaluations, memory, tolerance):
    dtype = initial.dtype
    batch, dimension = initial.shape
    noise = 10.0 * _epsilon(dtype)

    def evaluate(positions, items, running):
        rows = tf.cast(tf.where(running)[:, 0], tf.int32)
        count = tf.size(rows)
        padded = tf.maximum(count, 2)
        rows = tf.concat([rows, tf.repeat(rows[:1], padded - count)], 0)
        values, gradients = value_and_gradients(tf.gather(positions, rows), tf.gather(items, rows))
        back = tf.maximum(tf.cumsum(tf.cast(running, tf.int32)) - 1, 0)
        return tf.cast(tf.gather(values, back), tf.float64), tf.gather(gradients, back)

    def round_(state):
        running = state.status == _RUNNING
        search = state.search
        first = state.evaluations == 0
        direction = state.target - state.position
        step = tf.cast(search.step, dtype)[:, None]
        beyond = state.position + step * direction
        trial = tf.clip_by_value(beyond, state.lower, state.upper)
        trial = tf.where(step == 1.0, state.target, trial)
        value, gradient = evaluate(trial, state.item, running)
        evaluations = state.evaluations + tf.cast(running, tf.int32)
        along = tf.where((step <= 1.0) | (beyond == trial), direction, tf.zeros_like(direction))
        slope = tf.cast(tf.reduce_sum(gradient * along, -1), tf.float64)
        projected = tf.clip_by_value(-gradient, state.lower - trial, state.upper - trial)
        norm = tf.reduce_max(tf.abs(projected), -1)
        finite = tf.math.is_finite(value) & tf.math.is_finite(norm)
        accepted, failed, search = line_search.advance(
            search, tf.where(finite, value, float("nan")), slope, state.longest, noise
        )
        accepted = running & finite & (accepted | first)
        failed = running & ~first & failed
        small = norm <= tolerance * tf.maximum(tf.cast(1, dtype), tf.reduce_max(tf.abs(trial), -1))
        level = accepted & small & (value <= state.best_value + noise * tf.abs(state.best_value))
        better = running & finite & ((value < state.best_value) | first | level)
        best_position = tf.where(better[:, None], trial, state.best_position)
        best_value = tf.where(better, value, state.best_value)
        best_norm = tf.where(better, norm, state.best_norm)

        column = accepted[:, None]
        moved = accepted & ~first
        pairs = curvature.remember(
            state.pairs,
            moved,
            trial - state.position,
            gradient - state.gradient,
            tf.where(column, gradient, state.gradient),
            memory,
        )
        position = tf.where(column, trial, state.position)
        gradient = tf.where(column, gradient, state.gradient)
        value = tf.where(accepted, value, state.value)

        status = state.status
        hopeless = failed & state.fresh
        status = tf.where(hopeless, int(Status.LINE_SEARCH_FAILED), status)
        status = tf.where(
            running & (evaluations >= max_evaluations), int(Status.EVALUATION_LIMIT), status
        )
        status = tf.where(
            accepted & small,
            tf.where(first, int(Status.OPTIMAL_AT_START), int(Status.CONVERGED)),
            status,
        )
        status = tf.where(running & first & ~finite, int(Status.NOT_FINITE), status)

        restart = failed & ~hopeless
        pairs = pairs._replace(count=tf.where(restart, 0, pairs.count))
        turn = accepted | restart
        held = ((position <= state.lower) & (gradient > 0)) | (
            (position >= state.upper) & (gradient < 0)
        )
        free = tf.cast(~held, dtype)
        length = tf.sqrt(tf.cast(tf.reduce_sum(tf.square(gradient * free), -1), tf.float64))
        pairs = pairs._replace(scale=tf.where(accepted & first, 1.0 / length, pairs.scale))
        newton, scale = curvature.quasi_newton(pairs, free, memory)
        target = tf.clip_by_value(position + newton, state.lower, state.upper)
        slope = tf.cast(tf.reduce_sum(gradient * (target - position), -1), tf.float64)
        bad = ~(slope < 0.0)
        steepest = -gradient * tf.cast(scale, dtype)[:, None]
        newton = tf.where(bad[:, None], steepest, newton)
        target = tf.where(
            bad[:, None], tf.clip_by_value(position + steepest, state.lower, state.upper), target
        )
        slope = tf.cast(tf.reduce_sum(gradient * (target - position), -1), tf.float64)
        pairs = pairs._replace(count=tf.where(turn & bad, 0, pairs.count))
        hits = tf.reduce_any(target != position + newton, -1)
        begun = line_search.begin(value, slope)
        search = tf.nest.map_structure(lambda a, b: tf.where(turn, a, b), begun, search)
        fresh = tf.where(turn, pairs.count == 0, state.fresh)
        return _State(
            item=state.item,
            lower=state.lower,
            upper=state.upper,
            position=position,
            value=value,
            gradient=gradient,
            target=tf.where(turn[:, None], target, state.target),
            longest=tf.where(
                turn, tf.where(hits, tf.constant(1.0, tf.float64), float("inf")), state.longest
            ),
            best_position=best_position,
            best_value=best_value,
            best_norm=best_norm,
            evaluations=evaluations,
            status=status,
            fresh=fresh,
            search=search,
            pairs=pairs,
        )

    def running_count(state):
        return tf.reduce_sum(tf.cast(state.status == _RUNNING, tf.int32))

    def full_enough(state):
        running = running_count(state)
        finished = tf.reduce_sum(tf.cast(state.status >= 0, tf.int32))
        return (running > 0) & (4 * finished <= running)

    def take(state, rows):
        pairs = curvature.take(state.pairs, rows, memory)
        rest = state._replace(pairs=())
        return tf.nest.map_structure(lambda part: tf.gather(part, rows), rest)._replace(pairs=pairs)

    def store(result, state):
        where = tf.where(state.status >= 0)
        item = tf.gather_nd(state.item, where)[:, None]

        def put(whole, part):
            return tf.tensor_scatter_nd_update(whole, item, tf.gather_nd(part, where))

        return BoxResult(
            put(result.position, state.best_position),
            put(result.value, tf.cast(state.best_value, dtype)),
            put(result.projected_gradient_norm, state.best_norm),
            put(result.evaluations, state.evaluations),
            put(result.status, state.status),
        )

    def stage(state, result):
        (state,) = tf.while_loop(
            lambda s: full_enough(s), lambda s: (round_(s),), (state,), parallel_iterations=1
        )
        result = store(result, state)
        rows = tf.cast(tf.where(state.status == _RUNNING)[:, 0], tf.int32)
        count = tf.size(rows)
        # one row keeps being there
        fill = tf.cond(count > 0, lambda: rows[:1], lambda: tf.zeros([1], tf.int32))
        extra = tf.repeat(fill, tf.maximum(2 - count, 0))
        state = take(state, tf.concat([rows, extra], 0))
        done = tf.range(tf.size(state.status)) >= count
        return state._replace(status=tf.where(done, _PADDING, state.status)), result

    rows = max(batch, 2)
    index = tf.minimum(tf.range(rows), batch - 1)
    start = tf.gather(tf.clip_by_value(initial, lower, upper), index)
    zero = tf.zeros([rows], tf.float64)
    state = _State(
        item=index,
        lower=tf.gather(lower, index),
        upper=tf.gather(upper, index),
        position=start,
        value=zero,
        gradient=tf.zeros_like(start),
        target=start,
        longest=zero + 1,
        best_position=start,
        best_value=zero + float("nan"),
        best_norm=tf.fill([rows], tf.constant(float("nan"), dtype)),
        evaluations=tf.zeros([rows], tf.int32),
        status=tf.where(tf.range(rows) < batch, _RUNNING, _PADDING),
        fresh=tf.ones([rows], tf.bool),
        search=line_search.begin(zero, zero),
        pairs=curvature.empty(rows, memory, dimension, dtype),
    )
    result = BoxResult(
        start[:batch],
        tf.zeros([batch], dtype),
        tf.zeros([batch], dtype),
        tf.zeros([batch], tf.int32),
        tf.zeros([batch], tf.int32),
    )
    shapes = tf.nest.map_structure(lambda t: tf.TensorShape([None] + t.shape[1:].as_list()), state)
    same = tf.nest.map_structure(lambda t: t.shape, result)
    state, result = tf.while_loop(
        lambda s, r: running_count(s) > 0,
        stage,
        (state, result),
        shape_invariants=(shapes, same),
        parallel_iterations=1,
    )
    return result


def _epsilon(dtype):
    import numpy as np

    return float(np.finfo(dtype.as_numpy_dtype).eps)


def minimize_in_box(
    value_and_gradients, initial, lower, upper, max_evaluations=400, memory=25, tolerance=1e-8
):
    """Batched box-constrained minimisation (in development)."""
    initial = tf.convert_to_tensor(initial)
    lower = tf.broadcast_to(tf.cast(lower, initial.dtype), initial.shape)
    upper = tf.broadcast_to(tf.cast(upper, initial.dtype), initial.shape)
    call = tf.function(
        lambda a, b, c: minimise(value_and_gradients, a, b, c, max_evaluations, memory, tolerance),
        autograph=False,
    )
    return call(initial, lower, upper)
