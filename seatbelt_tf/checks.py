"""Checks of arguments and images: a ValueError says what was expected and what came."""

import numbers

import numpy as np
import tensorflow as tf

# Rounding in a user's own preprocessing may pass ±1 by a few units in the last place.
RANGE_TOLERANCE = 1e-4


def invalid(name, expected, received):
    """The ValueError of this package: what `name` should be, and what it was."""
    return ValueError(f"Invalid value for {name}. Expected {expected}. Received: {name}={received}")


def positive_integer(name, value):
    """Returns `value` as an int, or raises ValueError unless it is a whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise invalid(name, "a positive integer", repr(value))
    return int(value)


def finite_number(name, value, minimum=None, above=None):
    """Returns `value` as a float, or raises ValueError unless it is finite and in range."""
    bound = ""
    if minimum is not None:
        bound = f" of at least {minimum}"
    elif above is not None:
        bound = f" above {above}"
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if (
        not is_number
        or not np.isfinite(value)
        or (minimum is not None and value < minimum)
        or (above is not None and value <= above)
    ):
        raise invalid(name, f"a finite number{bound}", repr(value))
    return float(value)


def one_of(name, value, allowed):
    """Returns `value`, or raises ValueError unless it is one of the allowed names."""
    if value not in allowed:
        raise invalid(name, f"one of {tuple(allowed)}", repr(value))
    return value


def images_spec(shape, dtype, image_shape, name="images"):
    """Raises ValueError unless a tensor of this shape and type can hold images of `image_shape`.

    Args:
        shape: a `tf.TensorShape`, None for unknown sizes.
        dtype: its `tf.DType`.
        image_shape: (H, W, C).
        name: what to call the tensor in the message.
    """
    expected = f"(M, {', '.join(map(str, image_shape))})"
    if not dtype.is_floating:
        raise invalid(
            f"{name}.dtype", "floating-point pixels in [-1, 1] (x / 127.5 - 1)", dtype.name
        )
    if not tf.TensorShape([None, *image_shape]).is_compatible_with(shape):
        raise invalid(f"{name}.shape", expected, "?" if shape.rank is None else tuple(shape))


def images(values, image_shape, name="images"):
    """Images as a float32 tensor, after checking all that can be checked.

    Args:
        values: anything that converts to a (M, H, W, C) floating-point tensor.
        image_shape: (H, W, C).
        name: what to call the tensor in a message.

    Returns:
        (M, H, W, C) float32.

    Raises:
        ValueError: wrong rank, size or channels, integers, no images, pixels that are not finite
            or not in [-1, 1] (the last three for eager values only).
    """
    values = tf.convert_to_tensor(values)
    images_spec(values.shape, values.dtype, image_shape, name)
    values = tf.cast(values, tf.float32)
    if hasattr(values, "numpy"):
        if values.shape[0] == 0:
            raise invalid(f"{name}.shape", "at least one image", tuple(values.shape))
        unusable = tf.math.count_nonzero(~tf.math.is_finite(values))
        if unusable:
            raise invalid(name, "finite pixels", f"{unusable} pixels that are NaN or infinite")
        lowest, highest = float(tf.reduce_min(values)), float(tf.reduce_max(values))
        if lowest < -1 - RANGE_TOLERANCE or highest > 1 + RANGE_TOLERANCE:
            raise invalid(name, "pixels in [-1, 1]", f"pixels from {lowest:g} to {highest:g}")
    return values


def assert_pixels(values):
    """Inside a graph: stops the step with InvalidArgumentError unless pixels are in [-1, 1].

    NaN fails the comparison too. XLA drops assertions.
    """
    in_range = tf.reduce_all(tf.abs(values) <= 1 + RANGE_TOLERANCE)
    tf.debugging.Assert(
        in_range,
        [
            "Invalid batch of images. Expected finite pixels in [-1, 1]. Received a range of",
            tf.reduce_min(values),
            tf.reduce_max(values),
        ],
    )
