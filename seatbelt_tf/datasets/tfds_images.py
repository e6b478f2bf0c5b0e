"""Images from a prepared TFDS data directory: what all such datasets share."""

import functools
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from seatbelt_tf.datasets import byte_cache, preprocessing
from seatbelt_tf.datasets.prepared import Prepared, data_directory, find_prepared
from seatbelt_tf.datasets.registry import DatasetInfo, Rows, Source

# Part of the cache's name: raise it whenever the preprocessing changes.
_RECIPE = 2


class TFDSImages(Source):
    """A dataset prepared by TFDS; subclasses say what is in it."""

    shape: tuple[int, int, int]
    published: ClassVar[Mapping[str, int]]
    """TFDS split -> number of images, as published."""
    parts: Mapping[str, tuple[str, float, float]]
    """Our split -> (TFDS split, first and last fraction of it)."""
    factors: ClassVar[Mapping[str, int] | None] = None
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
            how_to_get=self.how_to_get(data_dir),
            fingerprint=prepared.fingerprint if prepared else None,
        )

    def _bounds(self, split, sizes):
        tfds_split, first, last = self.parts[split]
        size = sizes.get(tfds_split, 0)
        return round(first * size), round(last * size)

    def how_to_get(self, data_dir: str | os.PathLike | None) -> str:
        """The command that prepares the dataset, on one line."""
        directory = os.fspath(data_directory(data_dir))
        return (
            'python -c "import tensorflow_datasets as tfds; '
            f'tfds.load({self.name!r}, data_dir={directory!r})"'
        )

    def check(self, data_dir: str | os.PathLike | None) -> None:
        self._complete(data_dir)

    def _complete(self, data_dir: str | os.PathLike | None) -> Prepared:
        """The prepared dataset; ValueError when it is not there, or not all of it."""
        prepared = find_prepared(self.name, data_dir)
        directory = data_directory(data_dir)
        if prepared is None:
            raise ValueError(
                f"Invalid value for data_dir. Expected {self.name} prepared by TFDS, which "
                f"is not in {directory}; to get it run: {self.how_to_get(data_dir)}"
            )
        if prepared.missing:
            raise ValueError(
                f"Invalid value for data_dir. Expected {prepared.missing[0]} in "
                f"{prepared.directory}, where {len(prepared.missing)} file(s) are missing; remove "
                f"that directory and run: {self.how_to_get(data_dir)}"
            )
        return prepared

    def open(self, split, image_size, data_dir):
        prepared = self._complete(data_dir)
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
        return Rows(images, labels, np.arange(*self._bounds(split, prepared.splits)))

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


def _batches(
    source: TFDSImages, directory: pathlib.Path, tfds_split: str, image_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Generates (images, labels) in the order of the files."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    dataset = tfds.builder_from_directory(directory).as_dataset(
        split=tfds_split,
        shuffle_files=False,
        # One file after another: the order must not depend on how reading interleaves.
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )

    recipe = preprocessing.recipe(source.shape[2], image_size, source.crop, source.binarise)

    def convert(example):
        return preprocessing.reduce(example["image"], recipe), source.label(example)

    dataset = dataset.map(convert, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    try:
        yield from dataset.batch(256).prefetch(2).as_numpy_iterator()
    except tf.errors.OpError as error:
        raise ValueError(
            f"Invalid value for data_dir. Expected readable records of {source.name} in "
            f"{directory}. Received: {type(error).__name__}: {error.message.splitlines()[0]}"
        ) from error
