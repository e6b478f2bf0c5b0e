"""One line search an item, each at its own stage, all advanced by the same evaluation.

Along f(x + t d) with slope s(t) the search looks for the strong Wolfe conditions
f(t) <= f(0) + c1 t s(0) and |s(t)| <= c2 |s(0)| (c1 = 1e-3, c2 = 0.9, SciPy's values) by bracketing
and interpolation after Moré and Thuente (1994). Within the rounding noise of f it accepts on slopes
alone, the approximate Wolfe conditions of Hager and Zhang (2005), eq. 4.1: a float32 objective says
nothing about a decrease smaller than its last digits.
"""

from typing import NamedTuple

import tensorflow as tf

_SUFFICIENT_DECREASE = 1e-3
_CURVATURE = 0.9
_LONGEST_EXTRAPOLATION = 4.0
_SHORTEST_EXTRAPOLATION = 1.1
_MARGIN = 0.02
_ENOUGH_SHRINKING = 0.66
_NARROW = 1e-3
_MOST_TRIALS = 20


class LineSearch(NamedTuple):
    """Scalars of n searches, float64 (n,) unless said otherwise.

    `low` is the best step so far (0 at the start), `high` the other end of the bracket, inf while
    there is none; `width` the bracket's length one trial ago; `trials` int32, and `forced` bool:
    the next trial repeats `low` and is accepted whatever comes.
    """

    step: tf.Tensor
    start_value: tf.Tensor
    start_slope: tf.Tensor
    low_step: tf.Tensor
    low_value: tf.Tensor
    low_slope: tf.Tensor
    high_step: tf.Tensor
    high_value: tf.Tensor
    high_slope: tf.Tensor
    width: tf.Tensor
    trials: tf.Tensor
    forced: tf.Tensor


def begin(value, slope):
    """Searches whose first trial is the full step 1. value, slope: (n,) float64 at step 0."""
    zero = tf.zeros_like(value)
    infinity = zero + float("inf")
    return LineSearch(
        step=zero + 1.0,
        start_value=value,
        start_slope=slope,
        low_step=zero,
        low_value=value,
        low_slope=slope,
        high_step=infinity,
        high_value=infinity,
        high_slope=zero,
        width=infinity,
        trials=tf.zeros_like(value, tf.int32),
        forced=tf.zeros_like(value, tf.bool),
    )


def advance(search, value, slope, longest, noise):
    """Judges the trial at `search.step` and proposes the next.

    value, slope: (n,) float64 at the trial; longest: (n,) float64, the largest step allowed;
    noise: relative rounding error of a value. Returns accepted (n,) bool, failed (n,) bool and the
    searches with their next steps (to be ignored where accepted or failed).
    """
    step = search.step
    finite = tf.math.is_finite(value) & tf.math.is_finite(slope)
    value = tf.where(finite, value, float("inf"))
    slope = tf.where(finite, slope, 0.0)
    tolerated = noise * tf.abs(search.start_value)
    enough = value <= search.start_value + _SUFFICIENT_DECREASE * step * search.start_slope
    flat = tf.abs(slope) <= -_CURVATURE * search.start_slope
    level = (
        (value <= search.start_value + tolerated)
        & (slope <= (2 * _SUFFICIENT_DECREASE - 1) * search.start_slope)
        & (slope >= _CURVATURE * search.start_slope)
    )
    at_end = (step >= longest) & enough & (slope < 0.0)
    accepted = finite & ((enough & flat) | level | at_end | search.forced)

    # The trial either becomes the new best end of the bracket, or its other end.
    better = (enough | ((value <= search.start_value + tolerated) & (slope < 0.0))) & (
        (value < search.low_value) | (value <= search.low_value + tolerated) & (slope < 0.0)
    )
    turned = better & (slope * (step - search.low_step) >= 0.0)

    def pick(if_worse, if_turned, otherwise):
        return tf.where(better, tf.where(turned, if_turned, otherwise), if_worse)

    high_step = pick(step, search.low_step, search.high_step)
    high_value = pick(value, search.low_value, search.high_value)
    high_slope = pick(slope, search.low_slope, search.high_slope)
    low_step = tf.where(better, step, search.low_step)
    low_value = tf.where(better, value, search.low_value)
    low_slope = tf.where(better, slope, search.low_slope)

    bracketed = tf.math.is_finite(high_step)
    width = tf.where(bracketed, tf.abs(high_step - low_step), float("inf"))
    inside = _interpolate(
        low_step, low_value, low_slope, high_step, high_value, high_slope, tolerated
    )
    slow = (width > _ENOUGH_SHRINKING * search.width) & tf.math.is_finite(high_value)
    inside = tf.where(slow, (low_step + high_step) / 2.0, inside)
    outside = tf.minimum(_extrapolate(search, step, value, slope), longest)
    following = tf.where(bracketed, inside, outside)

    trials = search.trials + 1
    # A bracket this narrow around a step already better than the start: settle for that step.
    settle = (
        bracketed
        & (low_value < search.start_value)
        & ((width <= _NARROW * low_step) | (trials >= _MOST_TRIALS))
    )
    following = tf.where(settle, low_step, following)
    failed = ~accepted & (search.forced | ((trials >= _MOST_TRIALS) & ~settle) | (following <= 0.0))
    return (
        accepted,
        failed,
        LineSearch(
            step=following,
            start_value=search.start_value,
            start_slope=search.start_slope,
            low_step=low_step,
            low_value=low_value,
            low_slope=low_slope,
            high_step=high_step,
            high_value=high_value,
            high_slope=high_slope,
            width=width,
            trials=trials,
            forced=settle,
        ),
    )


def _cubic(a, value_a, slope_a, b, value_b, slope_b):
    """Minimiser of the cubic through two values and slopes (Nocedal and Wright, eq. 3.59)."""
    first = slope_a + slope_b - 3.0 * (value_a - value_b) / (a - b)
    second = tf.sign(b - a) * tf.sqrt(tf.maximum(first**2 - slope_a * slope_b, 0.0))
    return b - (b - a) * (slope_b + second - first) / (slope_b - slope_a + 2.0 * second)


def _interpolate(low, low_value, low_slope, high, high_value, high_slope, tolerated):
    """The next trial inside a bracket: cubic, tempered by the parabola, or secant in the noise."""
    width = high - low
    cubic = _cubic(low, low_value, low_slope, high, high_value, high_slope)
    curvature = (high_value - low_value) / width - low_slope
    parabola = low - low_slope * width / (2.0 * curvature)
    secant = low - low_slope * width / (high_slope - low_slope)
    tempered = tf.where(
        tf.abs(cubic - low) < tf.abs(parabola - low), cubic, (cubic + parabola) / 2.0
    )
    step = tf.where(high_value > low_value, tempered, cubic)
    in_noise = tf.abs(high_value - low_value) <= tolerated
    step = tf.where(in_noise, secant, step)
    tenth = low + 0.1 * width
    step = tf.where(tf.math.is_finite(high_value), step, tenth)
    step = tf.where(tf.math.is_finite(step), step, (low + high) / 2.0)
    ends = low + _MARGIN * width, high - _MARGIN * width
    return tf.clip_by_value(step, tf.minimum(*ends), tf.maximum(*ends))


def _extrapolate(search, step, value, slope):
    """The next trial beyond a step that still descends steeply."""
    cubic = _cubic(search.low_step, search.low_value, search.low_slope, step, value, slope)
    ahead = tf.math.is_finite(cubic) & (cubic > step)
    stretch = step - search.low_step
    longest = step + _LONGEST_EXTRAPOLATION * stretch
    return tf.clip_by_value(
        tf.where(ahead, cubic, longest), step + _SHORTEST_EXTRAPOLATION * stretch, longest
    )
