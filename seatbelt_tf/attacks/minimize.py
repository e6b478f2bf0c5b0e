"""Batched minimisation with simple bounds: one call, four optimisers behind it."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from seatbelt_tf import checks
from seatbelt_tf.attacks import box_adam, box_lbfgs, box_scipy, box_tfp
from seatbelt_tf.attacks.box_result import BoxResult

OPTIMIZERS = {
    "lbfgs": box_lbfgs.minimize,
    "tfp": box_tfp.minimize,
    "scipy": box_scipy.minimize,
    "adam": box_adam.minimize,
}


def minimize_in_box(
    value_and_gradients: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    initial: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    max_evaluations: int | tf.Tensor = 400,
    memory: int = 25,
    tolerance: float = 1e-8,
    *,
    optimizer: str = "lbfgs",
) -> BoxResult:
    """Minimises B functions at once, each over its own box: min f_b(x), lower_b <= x <= upper_b.

    The default is a limited-memory BFGS on the free coordinates (see `curvature`): coordinates at a
    bound whose gradient points out of the box are held, the quasi-Newton step of the others is
    projected onto the box, and a strong Wolfe line search (see `line_search`) runs towards the
    projected point. Every item has its own position, step, memory and status. One evaluation serves
    all items still running, whatever the stage of each, and nothing else is evaluated, so an item
    that ended costs nothing; no item changes another.

    An item is CONVERGED when max |P(x - g) - x| <= tolerance * max(1, max |x|), P the projection
    onto the box. float32 gradients seldom get that small: expect LINE_SEARCH_FAILED, which says
    that the value cannot be lowered any more, and look at `projected_gradient_norm`.

    Called in eager mode it is traced and run as one TensorFlow graph, anew at every call; to keep
    the graph, call it inside your own `tf.function`. SciPy's runs in eager mode only.

    Args:
        value_and_gradients: a function of positions (b, D), of the dtype of `initial`, and items
            (b,) int32, which of the B problems each row is, that returns values (b,) and gradients
            (b, D). It is made of TensorFlow operations, deterministic, and treats every row on its
            own. With "lbfgs" b is at least 2: a single item is evaluated twice over, for a batch of
            one takes other kernels with other rounding.
        initial: (B, D) float32 or float64, the starts; clipped to the box.
        lower: (B, D) or broadcastable to it; -inf where there is no bound.
        upper: like `lower`, nowhere below it; equal to it where a coordinate is fixed.
        max_evaluations: the most evaluations of one item; inside a `tf.function` also a scalar
            int32 tensor.
        memory: number of pairs that the quasi-Newton matrix remembers.
        tolerance: of the projected gradient, see above; 0 asks for an exact zero.
        optimizer: "lbfgs"; "tfp", `tfp.optimizer.lbfgs_minimize` with projection inside a loop over
            active sets; "scipy", `scipy.optimize.minimize` (L-BFGS-B), one item at a time; or
            "adam", projected Adam, a first-order method to check the others against.

    Returns:
        A `BoxResult`.

    Raises:
        ValueError: shapes that do not fit, NaN bounds or lower > upper (seen in eager mode only), a
            dtype that is not float32 or float64, a limit, memory or tolerance out of range, an
            unknown optimizer.
    """
    checks.one_of("optimizer", optimizer, tuple(OPTIMIZERS))
    if not tf.is_symbolic_tensor(max_evaluations):
        max_evaluations = checks.positive_integer("max_evaluations", max_evaluations)
    options = {
        "max_evaluations": max_evaluations,
        "memory": checks.positive_integer("memory", memory),
        "tolerance": checks.finite_number("tolerance", tolerance, minimum=0),
    }
    if not callable(value_and_gradients):
        raise checks.invalid("value_and_gradients", "a function", repr(value_and_gradients))
    start = _positions(initial)
    lowest, highest = _bound("lower", lower, start), _bound("upper", upper, start)
    if tf.executing_eagerly() and not np.all(lowest.numpy() <= highest.numpy()):
        crossed = int(np.sum(lowest.numpy() > highest.numpy()))
        raise checks.invalid("lower", "nowhere above upper", f"{crossed} coordinates above it")

    def run(initial, lower, upper):
        return OPTIMIZERS[optimizer](value_and_gradients, initial, lower, upper, **options)

    if tf.executing_eagerly() and optimizer != "scipy":
        run = tf.function(run, autograph=False)
    return run(start, lowest, highest)


def _positions(initial):
    initial = tf.convert_to_tensor(initial)
    if initial.dtype not in (tf.float32, tf.float64):
        raise checks.invalid("initial", "float32 or float64", initial.dtype.name)
    shape = initial.shape
    if shape.rank != 2 or not shape[1] or shape[0] == 0:
        raise checks.invalid("initial", "shape (B, D), neither of them 0", f"shape {shape}")
    return initial


def _bound(name, bound, initial):
    if not tf.is_tensor(bound):
        # tf.cast would take a Python float through float32.
        bound = np.asarray(bound, initial.dtype.as_numpy_dtype)
    bound = tf.cast(bound, initial.dtype)
    try:
        fits = tf.broadcast_static_shape(bound.shape, initial.shape) == initial.shape
    except ValueError:
        fits = False
    if not fits and initial.shape.is_fully_defined():
        expected = f"a shape that broadcasts to {initial.shape}"
        raise checks.invalid(name, expected, f"shape {bound.shape}")
    bound = tf.broadcast_to(bound, tf.shape(initial))
    if tf.executing_eagerly() and np.any(np.isnan(bound.numpy())):
        raise checks.invalid(name, "no NaN", f"{int(np.isnan(bound.numpy()).sum())} NaN")
    return bound
