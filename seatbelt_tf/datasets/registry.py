"""What a dataset is, and the table of datasets by name.

A new dataset is one subclass of `Source` in one file, decorated with `@register` (or, for names
like folder:PATH, with `@register_prefix`); the file is imported by
`seatbelt_tf/datasets/__init__.py`. Nothing here, nor in a source's module, imports
TensorFlow when it is loaded: the command line must be able to refuse bad input at once.
"""

import abc
import dataclasses
import difflib
import os
from collections.abc import Callable, Mapping

import numpy as np

from seatbelt_tf import checks
from seatbelt_tf.datasets import preprocessing


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset without reading its images.

    Attributes:
      name: the name for `load`.
      shape: (H, W, C) of the images at the default `image_size`; (D,) for points.
      splits: split name -> number of images.
      factors: factor name -> number of values, in the order of the label columns, or None.
      labels: class names (labels of shape (M,)), attribute names (labels of shape (M, K)), or
        None where the labels are the factors.
      source: where the images come from.
      licence: the terms under which the images may be used.
      how_to_get: one line: the command that prepares the dataset, or why none is needed.
      fingerprint: changes whenever the images do; None where they cannot, or are not there.
      notes: lines about this copy: files that were left out, say.
    """

    name: str
    shape: tuple[int, ...]
    splits: Mapping[str, int]
    factors: Mapping[str, int] | None
    labels: tuple[str, ...] | None
    source: str
    licence: str
    how_to_get: str
    fingerprint: str | None = None
    notes: tuple[str, ...] = ()


class Images(abc.ABC):
    """The images of one split, fetched by their place in it."""

    @abc.abstractmethod
    def images(self, places: np.ndarray) -> np.ndarray:
        """Places (M,) in the split -> uint8 (M, H, W, C), or float32 (M, D) points."""

    @abc.abstractmethod
    def labels(self, places: np.ndarray) -> np.ndarray:
        """Places (M,) in the split -> int32 (M,) or (M, K)."""


class Rows(Images):
    """Some rows of arrays that may be mapped from a file.

    Args:
        images: uint8 (N, H, W, C).
        labels: int32 (N,) or (N, K).
        rows: (M,), which of them.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> None:
        self._images, self._labels, self._rows = images, labels, rows

    def images(self, places: np.ndarray) -> np.ndarray:
        return np.asarray(self._images[self._rows[places]])

    def labels(self, places: np.ndarray) -> np.ndarray:
        return np.asarray(self._labels[self._rows[places]])


class Source(abc.ABC):
    """One dataset. Only `open` may import TensorFlow or read images."""

    name: str
    split_names: tuple[str, ...] = ("train", "validation", "test")
    image_sizes: tuple[int | None, ...]
    """Accepted values of `image_size`; the first is the default. (None,) for points."""
    crop: int | None = None
    binarise: bool = False

    @abc.abstractmethod
    def info(self, data_dir: str | os.PathLike | None) -> DatasetInfo:
        """`DatasetInfo`, with the sizes of the copy in `data_dir` when there is one."""

    @abc.abstractmethod
    def check(self, data_dir: str | os.PathLike | None) -> None:
        """Raises ValueError when the images cannot be had from `data_dir`."""

    @abc.abstractmethod
    def open(
        self, split: str, image_size: int | None, data_dir: str | os.PathLike | None
    ) -> Images:
        """The images of a split, decoded and cached if need be; `image_size` is None for points."""

    def preprocessing(
        self, image_size: int | None, data_dir: str | os.PathLike | None
    ) -> dict | None:
        """From stored images to the model's input: see `preprocessing`; None for points."""
        if image_size is None:
            return None
        channels = self.info(data_dir).shape[2]
        return preprocessing.recipe(channels, image_size, self.crop, self.binarise)


_SOURCES: dict[str, Source] = {}
_PREFIXES: dict[str, Callable[[str, int], Source]] = {}


def register(source: type[Source]) -> type[Source]:
    """Class decorator: makes a dataset available under the class's `name`."""
    _SOURCES[source.name] = source()
    return source


def register_prefix(prefix: str) -> Callable[[type[Source]], type[Source]]:
    """Class decorator: makes `prefix:REST` available as `source(REST, max_unreadable)`."""

    def add(source: type[Source]) -> type[Source]:
        _PREFIXES[prefix] = source
        return source

    return add


def names() -> tuple[str, ...]:
    """The names that `load` and `info` accept, sorted; folder:PATH is one more for any PATH."""
    return tuple(sorted(_SOURCES))


def find(name: str, max_unreadable: int = 0) -> Source:
    """The source of that name.

    Raises:
      ValueError: unknown name (the message names the nearest one); `max_unreadable` no integer,
        negative, or above 0 for a dataset that is not a folder.
    """
    checks.whole_number("max_unreadable", max_unreadable)
    prefix, colon, rest = name.partition(":") if isinstance(name, str) else ("", "", "")
    if colon and prefix in _PREFIXES:
        return _PREFIXES[prefix](rest, max_unreadable)
    if isinstance(name, str) and name in _SOURCES:
        if max_unreadable:
            raise checks.invalid("max_unreadable", f"0 for {name}", max_unreadable)
        return _SOURCES[name]
    nearest = difflib.get_close_matches(str(name), _SOURCES, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(
        f"Invalid value for dataset. Expected one of {', '.join(names())}, folder:PATH. "
        f"Received: dataset={name!r}.{hint}"
    )


def info(
    name: str, data_dir: str | os.PathLike | None = None, *, max_unreadable: int = 0
) -> DatasetInfo:
    """What is known of a dataset, without TensorFlow.

    Args:
      name: one of `names()`, or folder:PATH, whose files are read through the first time.
      data_dir: a TFDS data directory. If it holds the prepared dataset, the split sizes are that
        copy's own (a subset may have been prepared), otherwise the published ones.
      max_unreadable: how many files of a folder may be left out because they cannot be read.

    Returns:
      A `DatasetInfo`.

    Raises:
      ValueError: unknown name; for a folder, as `check`.
    """
    return find(name, max_unreadable).info(data_dir)


def recipe(
    name: str,
    image_size: int | None = None,
    data_dir: str | os.PathLike | None = None,
    *,
    max_unreadable: int = 0,
) -> dict | None:
    """How stored images become the model's input, for `preprocessing.from_bytes`.

    Args:
      name: a dataset's name.
      image_size: height and width; None for the dataset's own.
      data_dir: as in `info`.
      max_unreadable: as in `info`.

    Returns:
      A JSON-compatible dict (see `preprocessing`), or None for a dataset of points.

    Raises:
      ValueError: as `info`, or an unsupported `image_size`.
    """
    source = find(name, max_unreadable)
    return source.preprocessing(supported_size(source, image_size), data_dir)


def supported_size(source: Source, image_size: int | None) -> int | None:
    """`image_size`, or the source's own for None; ValueError when it is not supported."""
    if image_size is None:
        return source.image_sizes[0]
    if image_size not in source.image_sizes:
        listed = ", ".join(map(str, source.image_sizes))
        raise checks.invalid("image_size", f"one of {listed}", image_size)
    return image_size


def check(name: str, data_dir: str | os.PathLike | None = None, *, max_unreadable: int = 0) -> None:
    """Refuses, without importing TensorFlow, what `load` could not serve.

    Args:
      name: a dataset's name.
      data_dir: a TFDS data directory, or None for TFDS's own default ($TFDS_DATA_DIR, otherwise
        ~/tensorflow_datasets). Decoded images are cached in its seatbelt_cache.
      max_unreadable: as in `info`.

    Raises:
      ValueError: unknown name; `data_dir` given and not a directory; dataset not prepared there,
        or with files missing (the message is one line and says what to run); a folder that is
        missing, empty, not readable, or has more unreadable files than allowed.
    """
    source = find(name, max_unreadable)
    if data_dir is not None and not os.path.isdir(data_dir):
        raise checks.invalid("data_dir", "an existing directory", repr(os.fspath(data_dir)))
    source.check(data_dir)
