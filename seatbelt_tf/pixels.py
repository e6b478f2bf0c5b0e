"""Checks of images: before training, at the public methods, and inside every training step."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from seatbelt_tf import checks

# Rounding in a user's own preprocessing may pass ±1 by a few units in the last place.
RANGE_TOLERANCE = 1e-4
_KERAS_BATCH_SIZE = 32


def check_spec(shape, dtype, image_shape, name="images"):
    """Raises ValueError unless a tensor of this shape and type can hold images of `image_shape`.

    Args:
        shape: a `tf.TensorShape`, None for unknown sizes.
        dtype: its `tf.DType`.
        image_shape: (H, W, C).
        name: what to call the tensor in the message.
    """
    expected = f"(M, {', '.join(map(str, image_shape))})"
    if not dtype.is_floating:
        raise checks.invalid(
            f"{name}.dtype", "floating-point pixels in [-1, 1] (x / 127.5 - 1)", dtype.name
        )
    if not tf.TensorShape([None, *image_shape]).is_compatible_with(shape):
        raise checks.invalid(f"{name}.shape", expected, "?" if shape.rank is None else tuple(shape))


def check_images(values, image_shape, name="images"):
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
    check_spec(values.shape, values.dtype, image_shape, name)
    values = tf.cast(values, tf.float32)
    if hasattr(values, "numpy"):
        if values.shape[0] == 0:
            raise checks.invalid(f"{name}.shape", "at least one image", tuple(values.shape))
        unusable = tf.math.count_nonzero(~tf.math.is_finite(values))
        if unusable:
            raise checks.invalid(
                name, "finite pixels", f"{unusable} pixels that are NaN or infinite"
            )
        lowest, highest = float(tf.reduce_min(values)), float(tf.reduce_max(values))
        if lowest < -1 - RANGE_TOLERANCE or highest > 1 + RANGE_TOLERANCE:
            raise checks.invalid(
                name, "pixels in [-1, 1]", f"pixels from {lowest:g} to {highest:g}"
            )
    return values


def check_finite(values: ArrayLike, image_shape: Sequence[int], name: str) -> np.ndarray:
    """Images of whatever range as a float32 array, (B, H, W, C).

    Raises:
        ValueError: a wrong shape or type, no images, or pixels that are not finite.
    """
    values = _some_images(values, image_shape, name)
    if not np.all(np.isfinite(values)):
        raise checks.invalid(name, "finite pixels", "NaN or infinity")
    return values


def _some_images(values: ArrayLike, image_shape: Sequence[int], name: str) -> np.ndarray:
    """At least one image of this shape, whatever its pixels: (B, H, W, C) float32."""
    values = np.asarray(values)
    check_spec(tf.TensorShape(values.shape), tf.as_dtype(values.dtype), image_shape, name)
    if not len(values):
        raise checks.invalid(f"{name}.shape", "at least one image", values.shape)
    return values.astype(np.float32, copy=False)


def check_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    """(lower, upper) of pixels as two floats, which may be infinite.

    Raises:
        ValueError: these are not two numbers, the first the smaller one.
    """
    try:
        lower, upper = (float(bound) for bound in bounds)
        is_interval = lower < upper
    except (TypeError, ValueError):
        is_interval = False
    if not is_interval:
        raise checks.invalid("bounds", "(lower, upper) with lower < upper", repr(bounds))
    return lower, upper


def check_within(
    images: ArrayLike, image_shape: Sequence[int], bounds: tuple[float, float], name: str = "images"
) -> np.ndarray:
    """Images that an attack may start from, as a float32 array.

    Args:
        images: anything that converts to a (B, H, W, C) floating-point array.
        image_shape: (H, W, C).
        bounds: (lower, upper) of the pixels, both allowed; what is beyond them by rounding (see
            `RANGE_TOLERANCE`, of pixels in [-1, 1]) is put there.
        name: what to call the images in a message.

    Returns:
        (B, H, W, C) float32.

    Raises:
        ValueError: a wrong shape or type, no images, pixels that are not within the bounds, or
            bounds that nothing is within.
    """
    lower, upper = check_bounds(bounds)
    values = _some_images(images, image_shape, name)
    width = upper - lower
    slack = RANGE_TOLERANCE * width / 2 if np.isfinite(width) else 0.0
    lowest, highest = values.min(), values.max()
    # NaN is within nothing.
    is_within = lowest >= lower - slack and highest <= upper + slack
    if not is_within or not np.all(np.isfinite(values)):
        raise checks.invalid(name, f"pixels within the bounds {bounds}", f"{lowest} to {highest}")
    return np.clip(values, lower, upper)


def check_data(data, batch_size, image_shape, name):
    """What `fit` and `evaluate` are given, checked before the first step, a dataset's first batch.

    Args:
        data: an array of images, or a `tf.data.Dataset` of batches of them.
        batch_size: images a batch of an array, or None for Keras's own.
        image_shape: (H, W, C).
        name: what to call the data in a message.

    Returns:
        (images in a batch, why they may have another range than [-1, 1] or None).

    Raises:
        ValueError: see `check_images`; nothing in a dataset, or fewer images than a batch.
    """
    if isinstance(data, tf.data.Dataset):
        spec = data.element_spec
        spec = spec[0] if isinstance(spec, tuple) else spec
        if not isinstance(spec, tf.TensorSpec):
            raise checks.invalid(name, "a dataset of images, or of (images, labels)", spec)
        check_spec(spec.shape, spec.dtype, image_shape, name)
        first = next(iter(data.take(1)), None)
        if first is None:
            raise checks.invalid(name, "at least one batch of images", "an empty dataset")
        first = first[0] if isinstance(first, tuple) else first
        images = check_images(first, image_shape, name)
        return len(images), _range_warning(images)
    if not isinstance(data, (np.ndarray, tf.Tensor)):
        raise checks.invalid(name, "an array of images or a tf.data.Dataset", type(data).__name__)
    images = check_images(data, image_shape, name)
    if batch_size is not None:
        checks.positive_integer("batch_size", batch_size)
    if batch_size is not None and len(images) < batch_size:
        raise checks.invalid(
            name, f"at least as many images as batch_size={batch_size}", f"{len(images)}"
        )
    return batch_size or min(_KERAS_BATCH_SIZE, len(images)), _range_warning(images)


def _range_warning(images):
    """Why images that were looked at may have another range than [-1, 1], or None."""
    lowest = np.min(images)
    if lowest < 0 or lowest == np.max(images):
        return None
    return "No pixel is below 0: images are expected in [-1, 1], not in [0, 1] (2 * x - 1)."


def assert_pixels(values, *place):
    """Inside a graph: stops the step with InvalidArgumentError unless pixels are in [-1, 1].

    NaN fails the comparison too. XLA drops assertions.

    Args:
        values: (M, H, W, C) images, float32.
        *place: which batch this is, strings and tensors for the message.

    Returns:
        A context manager: operations made inside it run only after the check has passed.
    """
    in_range = tf.reduce_all(tf.abs(values) <= 1 + RANGE_TOLERANCE, axis=[1, 2, 3])
    check = tf.debugging.Assert(
        tf.reduce_all(in_range),
        [
            "Invalid batch of images",
            *place,
            "Expected finite pixels in [-1, 1]. Received a range of",
            tf.reduce_min(values),
            tf.reduce_max(values),
            "in the images at places",
            tf.where(~in_range)[:, 0],
        ],
        summarize=10,
    )
    return tf.control_dependencies([] if check is None else [check])
