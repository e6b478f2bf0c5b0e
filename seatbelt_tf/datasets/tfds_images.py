"""`cifar10`, `svhn_cropped`, `celeb_a` and `dsprites` from a prepared TFDS data directory.

Splits. Where TFDS has no validation split, ours is the last tenth of TFDS's train split, in the
order of the files (TFDS has shuffled them by hash when writing). dsprites has train alone: the
first 90 % are our train split, then 5 % validation, 5 % test. All splits are disjoint.

Preprocessing. `celeb_a`: the central 148×148 of the aligned 218×178 images (35 rows off the top
and bottom, 15 columns off the sides: the crop used by most CelebA generative models since Larsen
et al. 2016), reduced to 64×64 by area. `dsprites`: 0 and 1 become 0 and 255. The others as they
are. Pixels are rounded to bytes before caching.
"""

import functools
import os
import pathlib
from typing import ClassVar

import numpy as np

from seatbelt_tf.datasets import byte_cache
from seatbelt_tf.datasets.prepared import data_directory, find_prepared
from seatbelt_tf.datasets.registry import DatasetInfo, Images, Source, register
from seatbelt_tf.datasets.sprites import FACTORS

CELEB_A_CROP = 148
# Part of the cache's name: raise it whenever the preprocessing changes.
_RECIPE = 1

_WITH_VALIDATION = {
    "train": ("train", 0, 1),
    "validation": ("validation", 0, 1),
    "test": ("test", 0, 1),
}
_LAST_TENTH = {
    "train": ("train", 0, 0.9),
    "validation": ("train", 0.9, 1),
    "test": ("test", 0, 1),
}
_TRAIN_ALONE = {
    "train": ("train", 0, 0.9),
    "validation": ("train", 0.9, 0.95),
    "test": ("train", 0.95, 1),
}


class _Slice(Images):
    """Rows start … stop − 1 of cached arrays."""

    def __init__(self, images, labels, start, stop):
        self.size = stop - start
        self._images = images[start:stop]
        self._labels = labels[start:stop]

    def images(self, places):
        return np.asarray(self._images[places])

    def labels(self, places):
        return np.asarray(self._labels[places])


class TFDSImages(Source):
    """A dataset prepared by TFDS; subclasses say what is in it."""

    shape: tuple[int, int, int]
    published: dict[str, int]
    """TFDS split -> number of images, as published."""
    parts: dict[str, tuple[str, float, float]]
    """Our split -> (TFDS split, first and last fraction of it)."""
    factors: dict[str, int] | None = None
    label_names: tuple[str, ...] | None = None
    label_shape: tuple[int, ...] = ()
    origin: str
    licence: str

    def info(self, data_dir: str | os.PathLike | None) -> DatasetInfo:
        prepared = find_prepared(self.name, data_dir)
        sizes = prepared.splits if prepared else self.published
        bounds = {split: self._bounds(split, sizes) for split in self.parts}
        return DatasetInfo(
            name=self.name,
            shape=self.shape,
            splits={split: stop - start for split, (start, stop) in bounds.items()},
            factors=self.factors,
            labels=self.label_names,
            source=self.origin,
            licence=self.licence,
            how_to_get=self._how_to_get(data_dir),
        )

    def _bounds(self, split, sizes):
        tfds_split, first, last = self.parts[split]
        size = sizes.get(tfds_split, 0)
        return round(first * size), round(last * size)

    def _how_to_get(self, data_dir):
        directory = os.fspath(data_directory(data_dir))
        return (
            'python -c "import tensorflow_datasets as tfds; '
            f'tfds.load({self.name!r}, data_dir={directory!r})"'
        )

    def check(self, data_dir: str | os.PathLike | None) -> None:
        prepared = find_prepared(self.name, data_dir)
        directory = data_directory(data_dir)
        if prepared is None:
            raise ValueError(
                f"Invalid value for data_dir. Expected {self.name} prepared by TFDS in "
                f"{directory}, where it is not; to get it run: {self._how_to_get(data_dir)}"
            )
        if prepared.missing:
            raise ValueError(
                f"Invalid value for data_dir. Expected {prepared.missing[0]} in "
                f"{prepared.directory}, where {len(prepared.missing)} file(s) are missing; remove "
                f"that directory and run: {self._how_to_get(data_dir)}"
            )

    def open(self, split, image_size, data_dir):
        prepared = find_prepared(self.name, data_dir)
        tfds_split = self.parts[split][0]
        images, labels = _decode_once(
            self,
            prepared.directory,
            prepared.fingerprint,
            prepared.splits[tfds_split],
            tfds_split,
            image_size,
            data_directory(data_dir),
        )
        return _Slice(images, labels, *self._bounds(split, prepared.splits))

    def image(self, image, image_size: int):
        """One decoded uint8 tensor (h, w, C) -> uint8 (image_size, image_size, C)."""
        import tensorflow as tf

        if image.shape[0] == image.shape[1] == image_size:
            return image
        reduced = tf.image.resize(image, (image_size, image_size), method="area")
        return tf.cast(tf.round(reduced), tf.uint8)

    def label(self, example):
        """One TFDS example -> int32 of shape `label_shape`."""
        import tensorflow as tf

        return tf.cast(example["label"], tf.int32)


@functools.lru_cache(maxsize=4)
def _decode_once(source, directory, fingerprint, rows, tfds_split, image_size, data_dir):
    specs = (
        ((rows, image_size, image_size, source.shape[2]), np.dtype(np.uint8)),
        ((rows, *source.label_shape), np.dtype(np.int32)),
    )
    batches = _batches(source, directory, tfds_split, image_size)
    if int(np.prod(specs[0][0], dtype=np.int64)) <= byte_cache.MAX_BYTES_IN_MEMORY:
        return byte_cache.in_memory(batches, specs)
    stem = f"{source.name}-{tfds_split}-{image_size}-{_RECIPE}-{fingerprint}"
    return byte_cache.on_disk(byte_cache.directory_for(data_dir), stem, batches, specs)


def _batches(source: TFDSImages, directory: pathlib.Path, tfds_split: str, image_size: int):
    """Generates (images, labels) in the order of the files."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    dataset = tfds.builder_from_directory(directory).as_dataset(
        split=tfds_split,
        shuffle_files=False,
        # One file after another: the order must not depend on how reading interleaves.
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )

    def convert(example):
        return source.image(example["image"], image_size), source.label(example)

    dataset = dataset.map(convert, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    try:
        yield from dataset.batch(256).prefetch(2).as_numpy_iterator()
    except tf.errors.OpError as error:
        raise ValueError(
            f"Invalid value for data_dir. Expected readable records of {source.name} in "
            f"{directory}. Received: {type(error).__name__}: {error.message.splitlines()[0]}"
        ) from error


@register
class CIFAR10(TFDSImages):
    """CIFAR-10: 60,000 colour photographs in 10 classes."""

    name = "cifar10"
    shape = (32, 32, 3)
    image_sizes = (32,)
    published: ClassVar = {"train": 50_000, "test": 10_000}
    parts = _LAST_TENTH
    label_names = (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    origin = "Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html"
    licence = "none stated by the authors; made for research"


@register
class SVHNCropped(TFDSImages):
    """SVHN, cropped digits: 99,289 colour photographs of house numbers, without `extra`."""

    name = "svhn_cropped"
    shape = (32, 32, 3)
    image_sizes = (32,)
    published: ClassVar = {"train": 73_257, "test": 26_032, "extra": 531_131}
    parts = _LAST_TENTH
    label_names = tuple("0123456789")
    origin = "Netzer et al. 2011, http://ufldl.stanford.edu/housenumbers/"
    licence = "non-commercial use only"


@register
class CelebA(TFDSImages):
    """CelebA, aligned: 202,599 faces with 40 binary attributes."""

    name = "celeb_a"
    shape = (64, 64, 3)
    image_sizes = (64, 32)
    published: ClassVar = {"train": 162_770, "validation": 19_867, "test": 19_962}
    parts = _WITH_VALIDATION
    label_names = (
        "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald",
        "Bangs", "Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair",
        "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair",
        "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
        "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose",
        "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair",
        "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
        "Wearing_Necklace", "Wearing_Necktie", "Young",
    )  # fmt: skip
    label_shape = (40,)
    origin = "Liu et al. 2015, http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
    licence = "non-commercial research only"

    def image(self, image, image_size):
        top, left = ((side - CELEB_A_CROP) // 2 for side in image.shape[:2])
        crop = image[top : top + CELEB_A_CROP, left : left + CELEB_A_CROP]
        return super().image(crop, image_size)

    def label(self, example):
        import tensorflow as tf

        attributes = [example["attributes"][name] for name in self.label_names]
        return tf.cast(tf.stack(attributes), tf.int32)


@register
class DSprites(TFDSImages):
    """dSprites, the original files; `sprites` is our rendering of the same factor grid."""

    name = "dsprites"
    shape = (64, 64, 1)
    image_sizes = (64, 32)
    published: ClassVar = {"train": 737_280}
    parts = _TRAIN_ALONE
    factors: ClassVar = dict(FACTORS)
    label_shape = (5,)
    origin = "Matthey et al. 2017, https://github.com/google-deepmind/dsprites-dataset"
    licence = "Apache-2.0 (drawn with LÖVE, zlib/libpng licence)"

    def image(self, image, image_size):
        import tensorflow as tf

        return super().image(tf.where(image > 0, tf.uint8.max, tf.uint8.min), image_size)

    def label(self, example):
        import tensorflow as tf

        columns = ("shape", "scale", "orientation", "x_position", "y_position")
        return tf.cast(tf.stack([example[f"label_{column}"] for column in columns]), tf.int32)
