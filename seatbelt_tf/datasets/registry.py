"""What a dataset is, and the table of datasets by name.

A new dataset is one subclass of `Source` in one file, decorated with `@register`; the file is
imported by `seatbelt_tf/datasets/__init__.py`. Nothing here, nor in a source's module, imports
TensorFlow when it is loaded: the command line must be able to refuse bad input at once.
"""

import abc
import dataclasses
import difflib
import os
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset without reading its images.

    Attributes:
      name: the name for `load`.
      shape: (H, W, C) of the images at the default `image_size`.
      splits: split name -> number of images.
      factors: factor name -> number of values, in the order of the label columns, or None.
      labels: class names (labels of shape (M,)), attribute names (labels of shape (M, K)), or
        None where the labels are the factors.
      source: where the images come from.
      licence: the terms under which the images may be used.
      how_to_get: one line: the command that prepares the dataset, or why none is needed.
    """

    name: str
    shape: tuple[int, int, int]
    splits: Mapping[str, int]
    factors: Mapping[str, int] | None
    labels: tuple[str, ...] | None
    source: str
    licence: str
    how_to_get: str


class Images(abc.ABC):
    """The images of one split, fetched by their place in it."""

    size: int
    """Number of images."""

    @abc.abstractmethod
    def images(self, places: np.ndarray) -> np.ndarray:
        """Places (M,) in [0, size) -> uint8 (M, H, W, C)."""

    @abc.abstractmethod
    def labels(self, places: np.ndarray) -> np.ndarray:
        """Places (M,) in [0, size) -> int32 (M,) or (M, K)."""


class Source(abc.ABC):
    """One dataset. Only `open` may import TensorFlow or read images."""

    name: str
    split_names: tuple[str, ...] = ("train", "validation", "test")
    image_sizes: tuple[int, ...]
    """Accepted values of `image_size`; the first is the default."""

    @abc.abstractmethod
    def info(self, data_dir: str | os.PathLike | None) -> DatasetInfo:
        """`DatasetInfo`, with the sizes of the copy in `data_dir` when there is one."""

    @abc.abstractmethod
    def check(self, data_dir: str | os.PathLike | None) -> None:
        """Raises ValueError when the images cannot be had from `data_dir`."""

    @abc.abstractmethod
    def open(self, split: str, image_size: int, data_dir: str | os.PathLike | None) -> Images:
        """The images of a split, decoded and cached if need be."""


_SOURCES: dict[str, Source] = {}


def register(source: type[Source]) -> type[Source]:
    """Class decorator: makes a dataset available under the class's `name`."""
    _SOURCES[source.name] = source()
    return source


def names() -> tuple[str, ...]:
    """The names that `load` and `info` accept, sorted."""
    return tuple(sorted(_SOURCES))


def find(name: str) -> Source:
    """The source of that name.

    Raises:
      ValueError: unknown name; the message names the nearest one.
    """
    if isinstance(name, str) and name in _SOURCES:
        return _SOURCES[name]
    nearest = difflib.get_close_matches(str(name), _SOURCES, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(
        f"Invalid value for name. Expected one of {', '.join(names())}. Received: name={name!r}."
        f"{hint}"
    )


def info(name: str, data_dir: str | os.PathLike | None = None) -> DatasetInfo:
    """What is known of a dataset, without TensorFlow and without reading an image.

    Args:
      name: one of `names()`.
      data_dir: a TFDS data directory. If it holds the prepared dataset, the split sizes are that
        copy's own (a subset may have been prepared), otherwise the published ones.

    Returns:
      A `DatasetInfo`.

    Raises:
      ValueError: unknown name.
    """
    return find(name).info(data_dir)


def check(name: str, data_dir: str | os.PathLike | None = None) -> None:
    """Refuses, without importing TensorFlow, what `load` could not serve.

    Args:
      name: a dataset's name.
      data_dir: a TFDS data directory, or None for TFDS's own default ($TFDS_DATA_DIR, otherwise
        ~/tensorflow_datasets).

    Raises:
      ValueError: unknown name; `data_dir` given and not a directory; dataset not prepared there,
        or with files missing (the message is one line and says what to run).
    """
    source = find(name)
    if data_dir is not None and not os.path.isdir(data_dir):
        raise ValueError(
            "Invalid value for data_dir. Expected an existing directory. "
            f"Received: data_dir={os.fspath(data_dir)!r}"
        )
    source.check(data_dir)
