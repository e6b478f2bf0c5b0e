"""From a dataset's name to batches: order, gather, scale, prefetch."""

import numbers
import os
from typing import TYPE_CHECKING

import numpy as np

from seatbelt_tf import checks
from seatbelt_tf.datasets.order import batch_places
from seatbelt_tf.datasets.preprocessing import scale
from seatbelt_tf.datasets.registry import check, find, supported_size

if TYPE_CHECKING:
    import tensorflow as tf


def load(
    name: str,
    split: str = "train",
    *,
    batch_size: int = 64,
    seed: int = 0,
    image_size: int | None = None,
    data_dir: str | os.PathLike | None = None,
    with_labels: bool = False,
    shuffle: bool | None = None,
    repeat: bool = False,
    drop_remainder: bool | None = None,
    start_step: int = 0,
    as_uint8: bool = False,
    max_unreadable: int = 0,
    part: tuple[int, int] = (0, 1),
) -> "tf.data.Dataset":
    """A dataset as batches of images (or points) in [−1, 1].

    Nothing is ever downloaded: what is not prepared in `data_dir` is refused with the command that
    prepares it.

    Args:
      name: one of `names()`, or folder:PATH.
      split: "train", "validation" or "test".
      batch_size: images a batch, M.
      seed: of the shuffling; the splits do not depend on it.
      image_size: height and width; None for the dataset's own. Smaller ones by area reduction.
      data_dir: TFDS data directory; None for TFDS's default.
      with_labels: pairs (images, labels) in place of images. Labels are int32: (M,) classes,
        (M, K) factor indices (datasets with factors) or (M, 40) attributes (celeb_a).
      shuffle: None: only the train split. The order of epoch e depends on (seed, e) alone.
      repeat: an endless stream of epochs in place of one epoch.
      drop_remainder: leave out an epoch's last batch when it is smaller than the others. None: when
        `repeat` or on the train split.
      start_step: batches to skip. The stream goes on exactly as an uninterrupted one would after
        so many batches; the skipped images are not touched.
      as_uint8: leave the bytes as they are, for `scale` on the accelerator.
      max_unreadable: how many files of a folder may be left out because they cannot be read.
      part: (i, n): of every batch only the i-th of n equal parts, for the i-th of n workers
        that share it. Needs `drop_remainder`.

    Returns:
      `tf.data.Dataset` of float32 (M, H, W, C) in [−1, 1], or uint8 in 0 … 255; for swiss_roll
      float32 (M, 3).

    Raises:
      ValueError: unknown name or split, an unsupported `image_size`, a batch size, seed or start
        step that is no integer or out of range, a part that batches do not have, fewer images than
        a batch when the remainder is dropped, labels or bytes of a dataset that has none,
        `data_dir` missing, or the dataset not prepared in it. All before any image is drawn.
    """
    source = find(name, max_unreadable)
    if split not in source.split_names:
        raise checks.invalid("split", f"one of {', '.join(source.split_names)}", repr(split))
    batch_size = checks.positive_integer("batch_size", batch_size)
    start_step = checks.whole_number("start_step", start_step)
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise checks.invalid("seed", "an integer", repr(seed))
    seed = int(seed)
    check(name, data_dir, max_unreadable=max_unreadable)
    image_size = supported_size(source, image_size)
    info = source.info(data_dir)
    if with_labels and info.labels is None and info.factors is None:
        raise checks.invalid(
            "with_labels", f"False, since {name} has no labels (class subfolders would be)", True
        )
    if as_uint8 and image_size is None:
        raise checks.invalid("as_uint8", f"False, since {name} has no bytes", True)
    shuffle = split == "train" if shuffle is None else shuffle
    if drop_remainder is None:
        drop_remainder = repeat or split == "train"
    size = info.splits[split]
    if not size:
        raise checks.invalid("split", f"a split with images in this copy of {name}", repr(split))
    if drop_remainder and size < batch_size:
        raise checks.invalid(
            "batch_size", f"at most the {size} images in split {split!r} of {name}", batch_size
        )
    index, parts = part
    if not 0 <= index < parts or batch_size % parts or (parts > 1 and not drop_remainder):
        raise checks.invalid(
            "part",
            f"(i, n), i < n, n a divisor of the {batch_size} images of a batch, with "
            "drop_remainder unless n is 1",
            part,
        )
    places, steps = batch_places(
        size, batch_size, seed=seed, shuffle=shuffle, drop_remainder=drop_remainder
    )
    if not repeat and start_step > steps:
        raise checks.invalid(
            "start_step",
            f"at most the {steps} batches of one epoch, or repeat=True",
            start_step,
        )
    own = slice(index * batch_size // parts, (index + 1) * batch_size // parts)
    contents = source.open(split, image_size, data_dir)
    return _stream(
        contents,
        lambda step: places(step)[own],
        range(start_step, steps) if not repeat else start_step,
        with_labels=with_labels,
        static_batch=batch_size // parts if drop_remainder else None,
        as_uint8=as_uint8,
    )


def _stream(contents, places, steps, *, with_labels, static_batch, as_uint8):
    """The `tf.data.Dataset`; `steps` is a range of steps, or the first of endlessly many."""
    import tensorflow as tf

    probe = np.zeros(1, np.int64)
    image = contents.images(probe)
    image_shape = (static_batch, *image.shape[1:])
    label_shape = (static_batch, *contents.labels(probe).shape[1:]) if with_labels else None

    def fetch(step):
        wanted = places(step)
        images = np.ascontiguousarray(contents.images(wanted))
        return (images, contents.labels(wanted)) if with_labels else images

    def shaped(step):
        if not with_labels:
            return tf.ensure_shape(tf.numpy_function(fetch, [step], image.dtype), image_shape)
        images, labels = tf.numpy_function(fetch, [step], (image.dtype, tf.int32))
        return tf.ensure_shape(images, image_shape), tf.ensure_shape(labels, label_shape)

    def scaled(images, *labels):
        return (scale(images), *labels) if labels else scale(images)

    if isinstance(steps, range):
        dataset = tf.data.Dataset.range(steps.start, steps.stop)
    else:
        dataset = tf.data.Dataset.counter(steps)
    dataset = dataset.map(shaped)
    if image.dtype == np.uint8 and not as_uint8:
        dataset = dataset.map(scaled)
    return dataset.prefetch(tf.data.AUTOTUNE)
