"""Projected gradient ascent of any differentiable function of images within L2 balls.

    maximise f(x + d)  subject to  ‖d‖₂ ≤ r  and  x + d within the bounds

Steps are r in the gradient's direction at first: for a quadratic that is the power method, which
ends at the largest singular value; steps shrink later, since the best distortion of a curved
function is not where the gradient points. The best point seen counts.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from seatbelt_tf import ball, checks, pixels
from seatbelt_tf.attacks.compiled import Compiled
from seatbelt_tf.batches import in_batches

_SMALLEST_STEP = 0.02


class Ascent(NamedTuple):
    """What was found; every field is a NumPy array with leading dimension B.

    Attributes:
        distortion: (B, H, W, C) d.
        value: (B,) f(x + d); NaN where f was NaN wherever it was tried, and d = 0 then.
        first_value: (B,) after the first start: how much the others gained.
    """

    distortion: np.ndarray
    value: np.ndarray
    first_value: np.ndarray


def maximize_in_ball(
    function: Callable[[tf.Tensor, Any], tf.Tensor],
    images: ArrayLike,
    radius: ArrayLike,
    items: Any = (),
    bounds: tuple[float, float] = (-1.0, 1.0),
    steps: int = 100,
    starts: int = 4,
    seed: int = 0,
    *,
    initial: ArrayLike | None = None,
    chunk_size: int = 500,
) -> Ascent:
    """Finds distortions within an L2 ball and the pixel box that raise a function furthest.

    Args:
        function: (b, H, W, C) images and what `items` has of them -> (b,) values, differentiable
            and of each image by itself.
        images: (B, H, W, C) images x within the bounds.
        radius: () or (B,) r > 0, in the images' own units.
        items: nested tensors or arrays of shape (B, …), passed to `function` row by row.
        bounds: (lower, upper) of the pixels of x + d.
        steps: gradients for each start.
        starts: random distortions to start from; the best result counts.
        seed: of the starts.
        initial: (B, H, W, C) distortions to start from first, scaled to length r; they count as
            they are, too. None: none.
        chunk_size: images treated at once, which bounds the memory.

    Returns:
        `Ascent`.

    Raises:
        ValueError: images of a wrong shape or outside the bounds, a radius that is not positive, or
            counts that are no positive integers.
    """
    steps = checks.positive_integer("steps", steps)
    starts = checks.positive_integer("starts", starts)
    chunk_size = checks.positive_integer("chunk_size", chunk_size)
    if np.ndim(images) != 4:
        raise checks.invalid("images.shape", "(B, H, W, C)", np.shape(images))
    bounds = pixels.check_bounds(bounds)
    images = pixels.check_within(images, np.shape(images)[1:], bounds)
    radius = _radii(radius, len(images))
    if initial is not None and np.shape(initial) != images.shape:
        raise checks.invalid("initial.shape", images.shape, np.shape(initial))
    search = Compiled(_search(function, bounds, steps))
    rng = np.random.default_rng(checks.seed("seed", seed))
    found = []
    drawn = (rng.normal(size=images.shape).astype(np.float32) for _ in range(starts))
    first = [] if initial is None else [np.asarray(initial, np.float32)]
    for directions in itertools.chain(first, drawn):
        found.append(in_batches(search, images, directions, radius, items, size=chunk_size))
    if initial is not None:
        evaluate = Compiled(_projected(function, bounds))
        found.append(in_batches(evaluate, images, first[0], radius, items, size=chunk_size))
    distortions, values = (np.stack(field) for field in zip(*found, strict=True))
    best = (np.argmax(np.nan_to_num(values, nan=-np.inf), axis=0), np.arange(len(images)))
    return Ascent(distortions[best], values[best], values[0])


def _search(function, bounds, steps):
    """A function of (b, H, W, C) images and directions, (b,) radii, items: -> d, values."""

    def search(images, directions, radius, items):
        size = radius[:, None, None, None]

        def value_and_gradient(distortion):
            with tf.GradientTape() as tape:
                tape.watch(distortion)
                value = tf.cast(function(images + distortion, items), tf.float32)
            return value, tape.gradient(value, distortion, unconnected_gradients="zero")

        def better(value, distortion, best, highest):
            # Never so where the value is NaN.
            is_better = value > highest
            best = tf.where(is_better[:, None, None, None], distortion, best)
            return best, tf.where(is_better, value, highest)

        def step(number, distortion, best, highest):
            value, gradient = value_and_gradient(distortion)
            best, highest = better(value, distortion, best, highest)
            share = tf.cast(number, tf.float32) / steps
            length = _SMALLEST_STEP + (1 - _SMALLEST_STEP) * tf.square(tf.cos(np.pi / 2 * share))
            distortion += length * size * ball.unit(gradient)
            distortion = ball.project(distortion, images, radius, bounds)
            return number + 1, distortion, best, highest

        start = ball.project(size * ball.unit(directions), images, radius, bounds)
        nothing = tf.fill(tf.shape(radius), -np.inf)
        _, last, best, highest = tf.while_loop(
            lambda number, *_: number < steps,
            step,
            (0, start, tf.zeros_like(images), nothing),
        )
        value = tf.cast(function(images + last, items), tf.float32)
        best, highest = better(value, last, best, highest)
        return best, tf.where(highest > -np.inf, highest, np.nan)

    return search


def _projected(function, bounds):
    """As `_search`, without a step."""

    def evaluate(images, distortions, radius, items):
        distortions = ball.project(distortions, images, radius, bounds)
        return distortions, tf.cast(function(images + distortions, items), tf.float32)

    return evaluate


def _radii(radius: ArrayLike, count: int) -> np.ndarray:
    radius = np.asarray(radius, np.float32)
    if radius.shape not in ((), (count,)) or not np.all(np.isfinite(radius) & (radius > 0)):
        raise checks.invalid("radius", "one positive number, or one an image", repr(radius))
    return np.broadcast_to(radius, (count,)).copy()
