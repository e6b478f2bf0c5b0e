"""Encoded images to what the model was trained on: the run's crop, reduction and scaling.

Everything is TensorFlow operations, so that it becomes part of the SavedModel. What a hostile image
could do is refused before it is decoded: too many bytes, another format, too many pixels.
"""

from typing import NamedTuple

from seatbelt_tf.datasets.tfds_images import CELEB_A_CROP

MAX_BYTES = 8 * 2**20
MAX_PIXELS = 2**24
_DECODED_AT_ONCE = 4
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# Signature, length and type of the first chunk, width and height, depth and so on, checksum.
_PNG_HEADER_BYTES = 33


class Preprocessing(NamedTuple):
    """What happens to an image before the model sees it.

    Attributes:
        size: height and width of the model's images, reached by averaging over areas.
        channels: 1 (grey) or 3.
        crop: side in pixels of the central square that is used; None for the largest one.
        accepted: (height, width) that the crop was made for, the only ones accepted, or None.
        binary: whether every pixel above 0 becomes white.
    """

    size: int
    channels: int
    crop: int | None
    accepted: tuple[int, int] | None
    binary: bool


def of_run(config):
    """The preprocessing of a run's dataset, from its configuration, a dict.

    The crops are those of `seatbelt_tf.datasets`; a dataset whose images have the model's size
    already, and a folder of images, have the largest central square.
    """
    height, _, channels = config["model"]["image_shape"]
    name = config["data"]["name"]
    faces = name == "celeb_a"
    return Preprocessing(
        size=height,
        channels=channels,
        crop=CELEB_A_CROP if faces else None,
        accepted=(218, 178) if faces else None,
        binary=name == "dsprites",
    )


def describe(preprocessing):
    """The preprocessing in words, one step an entry."""
    steps = [
        f"PNG or JPEG of at most {MAX_BYTES:,} bytes and {MAX_PIXELS:,} pixels, decoded to "
        f"{'grey' if preprocessing.channels == 1 else 'RGB'} bytes"
    ]
    if preprocessing.accepted:
        steps.append("images of {}x{} (height x width) only".format(*preprocessing.accepted))
    else:
        steps.append(f"images of at least {preprocessing.size}x{preprocessing.size} only")
    if preprocessing.binary:
        steps.append("every pixel above 0 becomes 255")
    steps.append(f"the central square{f' of {preprocessing.crop}' if preprocessing.crop else ''}")
    steps.append(
        f"reduced to {preprocessing.size}x{preprocessing.size} by averaging areas, rounded to bytes"
    )
    steps.append("(x - 127.5) / 127.5, so that 0 is -1 and 255 is 1")
    return steps


def decode(image_bytes, preprocessing):
    """Encoded images to the model's: (M,) strings -> (M, size, size, channels) float32.

    Fails with InvalidArgumentError at the first image that is too large, no PNG or JPEG, damaged,
    or smaller than the model's images.

    Args:
        image_bytes: (M,) strings.
        preprocessing: a `Preprocessing`.
    """
    import tensorflow as tf

    shape = (preprocessing.size, preprocessing.size, preprocessing.channels)
    return tf.map_fn(
        lambda contents: tf.ensure_shape(_image(contents, preprocessing), shape),
        image_bytes,
        parallel_iterations=_DECODED_AT_ONCE,
        fn_output_signature=tf.TensorSpec(shape, tf.float32),
    )


def _image(contents, preprocessing):
    import tensorflow as tf

    from seatbelt_tf import datasets

    contents, height, width = _measured(contents, preprocessing)
    image = tf.io.decode_png(contents, channels=preprocessing.channels)
    if preprocessing.binary:
        image = tf.where(image > 0, tf.uint8.max, tf.uint8.min)
    side = preprocessing.crop or tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = image[top : top + side, left : left + side]
    size = (preprocessing.size, preprocessing.size)
    reduced = tf.image.resize(image, size, method="area")
    return datasets.scale(tf.cast(tf.round(reduced), tf.uint8))


def _measured(contents, preprocessing):
    """The contents after all checks, and the height and width that their header gives."""
    import tensorflow as tf

    length = tf.strings.length(contents)
    fits = tf.debugging.Assert(
        (length <= MAX_BYTES) & (length >= _PNG_HEADER_BYTES),
        [
            f"Invalid image. Expected {_PNG_HEADER_BYTES} to {MAX_BYTES} bytes. Received",
            length,
        ],
    )
    with tf.control_dependencies([fits]):
        contents = tf.identity(contents)
    is_png = tf.strings.substr(contents, 0, len(_PNG)) == _PNG
    is_jpeg = tf.strings.substr(contents, 0, len(_JPEG)) == _JPEG
    known = tf.debugging.Assert(is_png | is_jpeg, ["Invalid image. Expected PNG or JPEG bytes."])
    with tf.control_dependencies([known]):
        size = tf.cond(is_png, lambda: _png_size(contents), lambda: _jpeg_size(contents))
    height, width = tf.unstack(size)
    # In 64 bits: a hostile header's product must not wrap around.
    pixels = tf.reduce_prod(tf.cast(size, tf.int64))
    if preprocessing.accepted:
        is_right = tf.reduce_all(size == preprocessing.accepted)
        expected = "an image of {} by {} (height, width)".format(*preprocessing.accepted)
    else:
        is_right = tf.reduce_all(size >= preprocessing.size) & (pixels <= MAX_PIXELS)
        expected = f"an image of at least {preprocessing.size} by {preprocessing.size}"
        expected += f" and at most {MAX_PIXELS} pixels"
    usable = tf.debugging.Assert(
        is_right, [f"Invalid image. Expected {expected}. Received (height, width)", size]
    )
    with tf.control_dependencies([usable]):
        return tf.identity(contents), tf.identity(height), tf.identity(width)


def _png_size(contents):
    import tensorflow as tf

    header = tf.strings.substr(contents, 16, 8)
    width, height = tf.unstack(
        tf.ensure_shape(tf.io.decode_raw(header, tf.int32, little_endian=False), [2])
    )
    return tf.stack([height, width])


def _jpeg_size(contents):
    import tensorflow as tf

    return tf.io.extract_jpeg_shape(contents)[:2]
