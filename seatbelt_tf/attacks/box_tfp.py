"""TFP's L-BFGS behind the box-constrained call: projection inside a loop over active sets."""

import warnings

import tensorflow as tf

from seatbelt_tf.attacks import box
from seatbelt_tf.attacks.box_result import BoxResult, Status

with warnings.catch_warnings():
    # TFP 0.25 compares versions with distutils at the first use of an attribute.
    warnings.simplefilter("ignore", DeprecationWarning)
    import tensorflow_probability as tfp

    lbfgs_minimize = tfp.optimizer.lbfgs_minimize

# TFP limits iterations, not evaluations: with a limited line search, which spends up to two
# evaluations a trial, the evaluations left say how many iterations are safe.
_LINE_SEARCH_TRIALS = 10
_EVALUATIONS_AN_ITERATION = 2 * _LINE_SEARCH_TRIALS + 4
# Iterations on one active set before it is chosen anew.
_ITERATIONS_A_PASS = 20


def minimize(value_and_gradients, initial, lower, upper, max_evaluations, memory, tolerance):
    """`minimize_in_box` by `tfp.optimizer.lbfgs_minimize`; arguments checked there.

    A pass holds the coordinates at a bound whose gradient points out of the box and minimises
    f(P(x)) over the others, P the projection onto the box, with the gradient set to 0 where P cuts;
    passes follow until the projected gradient is small, no item improves or the evaluations run
    out. All items run in lockstep and are counted alike. Known to be the weaker route: a cut
    coordinate has no gradient, and the curvature mixes cut and free ones.
    """
    batch = tf.shape(initial)[0]
    rows = tf.range(batch)

    def evaluate(position):
        value, gradient = value_and_gradients(position, rows)
        return value, gradient, box.projected_norm(position, gradient, lower, upper)

    def one_pass(position, value, gradient, norm, is_active, evaluations):
        held = box.is_held(position, gradient, lower, upper) | ~is_active[:, None]

        # TFP's first step is the whole gradient. In these units it has length 1.
        length = tf.norm(tf.where(held, tf.zeros_like(gradient), gradient), axis=-1, keepdims=True)
        unit = tf.math.rsqrt(tf.where(length > 0, length, tf.ones_like(length)))

        def place(scaled):
            free_position = position + unit * scaled
            inside = tf.clip_by_value(free_position, lower, upper)
            return tf.where(held, position, inside), free_position

        def restricted(scaled):
            inside, free_position = place(scaled)
            value, gradient = value_and_gradients(inside, rows)
            has_slope = inside == free_position
            return value, tf.where(has_slope, unit * gradient, tf.zeros_like(gradient))

        left = max_evaluations - evaluations - 2
        found = lbfgs_minimize(
            restricted,
            tf.zeros_like(position),
            num_correction_pairs=memory,
            tolerance=tolerance,
            max_iterations=tf.clip_by_value(
                left // _EVALUATIONS_AN_ITERATION, 1, _ITERATIONS_A_PASS
            ),
            max_line_search_iterations=_LINE_SEARCH_TRIALS,
        )
        reached, _ = place(found.position)
        new_value, new_gradient, new_norm = evaluate(reached)
        finite = tf.math.is_finite(new_value) & tf.reduce_all(tf.math.is_finite(new_gradient), -1)
        improved = is_active & finite & (new_value < value)
        column = improved[:, None]
        position = tf.where(column, reached, position)
        value = tf.where(improved, new_value, value)
        norm = tf.where(improved, new_norm, norm)
        gradient = tf.where(column, new_gradient, gradient)
        is_active = improved & tf.math.is_finite(norm) & ~box.is_optimal(position, norm, tolerance)
        evaluations += found.num_objective_evaluations + 1
        return position, value, gradient, norm, is_active, evaluations

    def goes_on(position, value, gradient, norm, is_active, evaluations):
        del position, value, gradient, norm
        left = max_evaluations - evaluations - 2
        return tf.reduce_any(is_active) & (left >= _EVALUATIONS_AN_ITERATION)

    start = tf.clip_by_value(initial, lower, upper)
    value, gradient, norm = evaluate(start)
    is_finite = tf.math.is_finite(value) & tf.reduce_all(tf.math.is_finite(gradient), -1)
    is_optimal = is_finite & box.is_optimal(start, norm, tolerance)
    is_active = is_finite & ~is_optimal
    gradient = tf.where(is_finite[:, None], gradient, tf.zeros_like(gradient))
    state = (start, value, gradient, norm, is_active, tf.constant(1))
    position, value, _, norm, is_active, evaluations = tf.while_loop(goes_on, one_pass, state)

    status = tf.where(is_active, int(Status.EVALUATION_LIMIT), int(Status.LINE_SEARCH_FAILED))
    status = tf.where(box.is_optimal(position, norm, tolerance), int(Status.CONVERGED), status)
    status = tf.where(is_optimal, int(Status.OPTIMAL_AT_START), status)
    status = tf.where(is_finite, status, int(Status.NOT_FINITE))
    ran = is_finite & ~is_optimal
    return BoxResult(position, value, norm, tf.where(ran, evaluations, 1), status)
