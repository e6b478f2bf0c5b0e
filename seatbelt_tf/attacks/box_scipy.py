"""SciPy's L-BFGS-B behind the batched call: the reference, one item at a time."""

import numpy as np
import scipy.optimize
import tensorflow as tf

from seatbelt_tf.attacks.box_result import BoxResult, Status


def minimize(value_and_gradients, initial, lower, upper, max_evaluations, memory, tolerance):
    """`minimize_in_box` by `scipy.optimize.minimize`; arguments checked there.

    SciPy computes in float64, the objective in the dtype of `initial`. ftol is 10 machine epsilons
    of float64 and the gradient's tolerance the one of `minimize_in_box`, not relative.

    Raises:
        ValueError: if called inside a `tf.function`.
    """
    if not tf.executing_eagerly():
        raise ValueError(
            'Invalid value for optimizer. Expected another than "scipy" inside a tf.function. '
            "Received: optimizer='scipy'"
        )
    function = tf.function(value_and_gradients, autograph=False)
    solved = [
        _minimize_one(function, item, start, low, high, max_evaluations, memory, tolerance)
        for item, (start, low, high) in enumerate(
            zip(initial.numpy(), lower.numpy(), upper.numpy(), strict=True)
        )
    ]
    positions, values, norms, evaluations, statuses = zip(*solved, strict=True)
    return BoxResult(
        position=tf.constant(np.stack(positions)),
        value=tf.constant(np.array(values), initial.dtype),
        projected_gradient_norm=tf.constant(np.array(norms), initial.dtype),
        evaluations=tf.constant(evaluations, tf.int32),
        status=tf.constant(statuses, tf.int32),
    )


class _EvaluationLimitError(Exception):
    pass


class _Counted:
    """One item's objective for SciPy: counts, stops at the limit and keeps the best point."""

    def __init__(self, function, item, lower, upper, dtype, max_evaluations):
        self.function = function
        self.item = tf.constant([item])
        self.lower, self.upper, self.dtype = lower, upper, dtype
        self.max_evaluations = max_evaluations
        self.evaluations = 0
        self.best: tuple = ()

    def __call__(self, position):
        if self.evaluations == self.max_evaluations:
            raise _EvaluationLimitError
        self.evaluations += 1
        position = np.clip(position.astype(self.dtype), self.lower, self.upper)
        values, gradients = self.function(tf.constant(position[None]), self.item)
        value, gradient = float(values[0]), gradients[0].numpy()
        projected = np.clip(-gradient, self.lower - position, self.upper - position)
        norm = np.max(np.abs(projected))
        if not self.best or (value < self.best[1] and np.isfinite(norm)):
            self.best = position, value, norm
        return value, gradient.astype(np.float64)


def _minimize_one(function, item, start, lower, upper, max_evaluations, memory, tolerance):
    counted = _Counted(function, item, lower, upper, start.dtype, max_evaluations)
    start = np.clip(start, lower, upper)
    value, gradient = counted(start)
    first_norm = counted.best[2]
    if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
        return start, value, first_norm, 1, Status.NOT_FINITE
    counted.evaluations = 0
    has_ended = True
    try:
        scipy.optimize.minimize(
            counted,
            start.astype(np.float64),
            jac=True,
            method="L-BFGS-B",
            bounds=np.stack([lower, upper], 1).astype(np.float64),
            options={
                "maxcor": memory,
                "ftol": 10 * np.finfo(np.float64).eps,
                "gtol": tolerance,
                "maxfun": max_evaluations + 1,
                "maxiter": max_evaluations + 1,
            },
        )
    except _EvaluationLimitError:
        has_ended = False
    position, value, norm = counted.best
    allowed = tolerance * max(1.0, np.max(np.abs(position)))
    if norm <= allowed:
        is_start = first_norm <= tolerance * max(1.0, np.max(np.abs(start)))
        status = Status.OPTIMAL_AT_START if is_start else Status.CONVERGED
    else:
        status = Status.LINE_SEARCH_FAILED if has_ended else Status.EVALUATION_LIMIT
    return position, value, norm, counted.evaluations, status
