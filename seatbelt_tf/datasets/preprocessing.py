"""From an image as it is stored to the model's input: the one place where it is done.

A recipe is a JSON-compatible dict, recorded in a run's config.json, from which `from_bytes` serves
exactly what `datasets.load` trained on:

    channels     1 or 3. Colour becomes grey by ITU-R BT.601, grey becomes three equal channels
    crop         side of the central square that is cut out, in pixels of the stored image; null, or
                 more than the image has, for the largest one
    binarise     whether every pixel above 0 becomes 255
    image_size   height and width afterwards
    resize       "area": a pixel is the mean of what it covers, rounded half up
    scale        "x / 127.5 - 1"

Everything before the last step is integer arithmetic, so that no device or order of summation can
change a byte. Encoded images are decoded by `tf.io.decode_image` to three channels (PNG, JPEG,
WebP; transparency and EXIF orientation are ignored): JPEG leaves decoders some freedom, and Pillow
differs from TensorFlow by up to 8 levels.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from seatbelt_tf import checks

if TYPE_CHECKING:
    import tensorflow as tf

_RESIZE = "area"
_SCALE = "x / 127.5 - 1"


def recipe(channels: int, image_size: int, crop: int | None = None, binarise: bool = False) -> dict:
    """A recipe by its free parts: see the module's docstring.

    Returns:
      A JSON-compatible dict.

    Raises:
      ValueError: a part is out of range.
    """
    if channels not in (1, 3):
        raise checks.invalid("channels", "1 or 3", repr(channels))
    return {
        "channels": channels,
        "crop": None if crop is None else checks.positive_integer("crop", crop),
        "binarise": bool(binarise),
        "image_size": checks.positive_integer("image_size", image_size),
        "resize": _RESIZE,
        "scale": _SCALE,
    }


def check(parts: Mapping) -> dict:
    """A recipe read from a file, checked.

    Raises:
      ValueError: it is not one that `recipe` makes.
    """
    try:
        wanted = ("channels", "image_size", "crop", "binarise")
        known = recipe(**{name: parts[name] for name in wanted})
    except (TypeError, KeyError) as error:
        raise checks.invalid("preprocessing", f"a recipe ({error!r})", repr(parts)) from error
    if known != dict(parts):
        raise checks.invalid("preprocessing", repr(known), repr(dict(parts)))
    return known


def scale(images: "tf.Tensor | np.ndarray") -> "tf.Tensor":
    """Bytes to the model's range: x / 127.5 − 1, exactly within [−1, 1], also under XLA.

    Args:
      images: uint8, any shape (...), a tensor or an array.

    Returns:
      float32 tensor of the same shape.

    Raises:
      ValueError: another dtype (floats have been scaled already).
    """
    import tensorflow as tf

    images = tf.convert_to_tensor(images)
    if images.dtype != tf.uint8:
        raise checks.invalid("images.dtype", "uint8", images.dtype.name)
    # Subtracting first is exact; the other way round XLA fuses, and 255 comes out as 1.0000001.
    # Graphs turn a division by a constant into this product, and eager code must agree with them.
    return (tf.cast(images, tf.float32) - 127.5) * (1 / 127.5)


def reduce(image: "tf.Tensor | np.ndarray", parts: Mapping) -> "tf.Tensor":
    """Crops and reduces one decoded image.

    Args:
      image: uint8 (h, w, 1 or 3); the shorter side at most 65,793 (sums are exact up to there).
      parts: a recipe.

    Returns:
      uint8 tensor (image_size, image_size, channels).
    """
    import tensorflow as tf

    size = parts["image_size"]
    image = _with_channels(tf.convert_to_tensor(image), parts["channels"])
    if parts["binarise"]:
        image = tf.where(image > 0, tf.uint8.max, tf.uint8.min)
    if tuple(image.shape[:2]) == (size, size) and (parts["crop"] or size) >= size:
        return image
    height, width = tf.unstack(tf.shape(image)[:2])
    side = tf.minimum(height, width)
    if parts["crop"] is not None:
        side = tf.minimum(side, parts["crop"])
    top, left = (height - side) // 2, (width - side) // 2
    image = image[top : top + side, left : left + side]
    return tf.ensure_shape(_area(image, side, size), (size, size, parts["channels"]))


def decode(contents: "tf.Tensor | bytes", parts: Mapping) -> "tf.Tensor":
    """One encoded image (scalar string) -> uint8 (image_size, image_size, channels)."""
    import tensorflow as tf

    image = tf.io.decode_image(contents, channels=3, expand_animations=False)
    return reduce(tf.ensure_shape(image, (None, None, 3)), parts)


def decoder(parts: Mapping) -> Callable[[bytes, str], np.ndarray]:
    """`decode` compiled, for many files.

    Returns:
      A function of one file's bytes (and of its name, for messages) that returns a uint8 array
      (image_size, image_size, channels) and raises ValueError when it cannot.
    """
    import tensorflow as tf

    # Traced here, not by the first call: several threads would each trace it.
    compiled = tf.function(
        lambda content: decode(content, parts), autograph=False
    ).get_concrete_function(tf.TensorSpec((), tf.string))

    def decoded(content: bytes, name: str) -> np.ndarray:
        try:
            return compiled(tf.constant(content)).numpy()
        except tf.errors.OpError as error:
            reason = error.message.splitlines()[0]
            raise ValueError(f"{name} cannot be decoded ({reason})") from error

    return decoded


def from_bytes(contents: ArrayLike, parts: Mapping) -> "tf.Tensor":
    """Encoded images to the model's input, in a graph or eagerly: what a served model does.

    Args:
      contents: strings (M,), each a PNG, JPEG or WebP file.
      parts: a recipe.

    Returns:
      float32 (M, image_size, image_size, channels) in [−1, 1].

    Raises:
      ValueError: a damaged recipe.
      tf.errors.InvalidArgumentError: a string that is no image.
    """
    import tensorflow as tf

    parts = check(parts)
    shape = (parts["image_size"], parts["image_size"], parts["channels"])
    images = tf.map_fn(
        lambda content: decode(content, parts),
        tf.convert_to_tensor(contents, tf.string),
        fn_output_signature=tf.TensorSpec(shape, tf.uint8),
    )
    return scale(images)


def _with_channels(image, channels):
    import tensorflow as tf

    if image.shape[-1] == channels:
        return image
    if channels == 3:
        return tf.repeat(image, 3, axis=-1)
    weighted = tf.cast(image, tf.int32) * tf.constant([299, 587, 114])
    return tf.cast((tf.reduce_sum(weighted, axis=-1, keepdims=True) + 500) // 1000, tf.uint8)


def _area(image, side, size):
    """The mean under each new pixel, rounded half up, of a square image: exact.

    In units of 1/size old pixels, new pixel i covers [i·side, (i + 1)·side] and old pixel j covers
    [j·size, (j + 1)·size]: overlaps are integers that sum to `side` for each i, and a new pixel is
    an integer divided by side². The sums along one axis fit into float32, those along both into
    float64.
    """
    import tensorflow as tf

    channels = image.shape[-1]
    new, old = tf.range(size)[:, tf.newaxis], tf.range(side)
    overlap = tf.minimum((new + 1) * side, (old + 1) * size) - tf.maximum(new * side, old * size)
    weights = tf.maximum(overlap, 0)
    rows = tf.reshape(tf.cast(image, tf.float32), (side, side * channels))
    rows = tf.linalg.matmul(tf.cast(weights, tf.float32), rows)
    columns = tf.transpose(tf.reshape(rows, (size, side, channels)), (1, 0, 2))
    columns = tf.cast(tf.reshape(columns, (side, size * channels)), tf.float64)
    sums = tf.linalg.matmul(tf.cast(weights, tf.float64), columns)
    sums = tf.transpose(tf.reshape(sums, (size, size, channels)), (1, 0, 2))
    area = tf.cast(side, tf.int64) ** 2
    return tf.cast((2 * tf.cast(sums, tf.int64) + area) // (2 * area), tf.uint8)
