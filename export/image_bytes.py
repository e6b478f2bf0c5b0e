"""Encoded images to a model's input, with what a hostile image could do refused before decoding.

The preprocessing is the run's own recipe (`seatbelt_tf.datasets.preprocessing`), as operations that
become part of the SavedModel: training and serving cannot differ.
"""

from seatbelt_tf import datasets
from seatbelt_tf.datasets import preprocessing

MAX_BYTES = 8 * 2**20
MAX_PIXELS = 2**24
_DECODED_AT_ONCE = 2
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# Signature, length and type of the first chunk, width and height, depth and so on, checksum.
_PNG_HEADER_BYTES = 33


def recipe_of(config):
    """The recipe that a run has recorded, a dict; its dataset's for a run that recorded none.

    Args:
        config: the run's configuration, a dict.

    Raises:
        ValueError: the recorded one is damaged, or there is none and the dataset is unknown.
    """
    data, (size, _, channels) = config["data"], config["model"]["image_shape"]
    recorded = data.get("preprocessing")
    if recorded is None:
        return {**datasets.recipe(data["name"], size), "channels": channels}
    return preprocessing.check(recorded)


def describe(recipe):
    """What is done to an encoded image, in words: one step an entry."""
    size, crop = recipe["image_size"], recipe["crop"]
    return [
        f"PNG or JPEG of at most {MAX_BYTES:,} bytes and {MAX_PIXELS:,} pixels, decoded to "
        f"{'grey' if recipe['channels'] == 1 else 'RGB'} bytes",
        *(["every pixel above 0 becomes 255"] if recipe["binarise"] else []),
        "the largest central square" if crop is None else f"the central square of {crop} pixels",
        f"made {size}x{size} by averaging areas, rounded to bytes",
        f"{recipe['scale']}: 0 becomes -1 and 255 becomes 1",
    ]


def decode(image_bytes, recipe):
    """Encoded images to the model's: (M,) strings -> (M, size, size, channels) float32.

    Fails with InvalidArgumentError at the first image that is too large, no PNG or JPEG, or
    damaged.

    Args:
        image_bytes: (M,) strings.
        recipe: see `recipe_of`.
    """
    import tensorflow as tf

    size = recipe["image_size"]
    pixels = tf.map_fn(
        lambda contents: preprocessing.decode(_checked(contents), recipe),
        image_bytes,
        parallel_iterations=_DECODED_AT_ONCE,
        fn_output_signature=tf.TensorSpec((size, size, recipe["channels"]), tf.uint8),
    )
    return preprocessing.scale(pixels)


def _checked(contents):
    """The contents, available only after their length, format and header were checked."""
    import tensorflow as tf

    length = tf.strings.length(contents)
    fits = tf.debugging.Assert(
        (length <= MAX_BYTES) & (length >= _PNG_HEADER_BYTES),
        [f"Invalid image. Expected {_PNG_HEADER_BYTES} to {MAX_BYTES} bytes. Received", length],
    )
    with tf.control_dependencies([fits]):
        contents = tf.identity(contents)
    is_png = tf.strings.substr(contents, 0, len(_PNG)) == _PNG
    is_jpeg = tf.strings.substr(contents, 0, len(_JPEG)) == _JPEG
    known = tf.debugging.Assert(is_png | is_jpeg, ["Invalid image. Expected PNG or JPEG bytes."])
    with tf.control_dependencies([known]):
        sides = tf.cond(is_png, lambda: _png_sides(contents), lambda: _jpeg_sides(contents))
    # In 64 bits: a hostile header's product must not wrap around.
    pixels = tf.reduce_prod(tf.cast(sides, tf.int64))
    usable = tf.debugging.Assert(
        tf.reduce_all(sides > 0) & (pixels <= MAX_PIXELS),
        [f"Invalid image. Expected 1 to {MAX_PIXELS} pixels. Received (height, width)", sides],
    )
    with tf.control_dependencies([usable]):
        return tf.identity(contents)


def _png_sides(contents):
    import tensorflow as tf

    header = tf.strings.substr(contents, 16, 8)
    sides = tf.ensure_shape(tf.io.decode_raw(header, tf.int32, little_endian=False), [2])
    return tf.reverse(sides, [0])


def _jpeg_sides(contents):
    import tensorflow as tf

    return tf.io.extract_jpeg_shape(contents)[:2]
