"""`folder:PATH`: the user's own images, PNG, JPEG or WebP, of any size, grey or RGB.

Subfolders are classes. Every image is cut to its largest central square and reduced by area (a
smaller one is enlarged by the same rule); the model sees one channel when all are grey, otherwise
three. Decoded images are cached in the data directory's seatbelt_cache, never in the folder.

Splits: the last tenth of every class in the order of the files' SHA-256 is for testing, the tenth
before it for validation, so that they depend on nothing but the images. Files with the same bytes
count once.
"""

import collections
import concurrent.futures
import functools
import hashlib
import os
import pathlib

import numpy as np

from seatbelt_tf import checks
from seatbelt_tf.datasets import byte_cache, folder_index, preprocessing
from seatbelt_tf.datasets.prepared import data_directory
from seatbelt_tf.datasets.registry import DatasetInfo, Rows, Source, register_prefix

_NAMED, _BATCH = 3, 256
# Part of the cache's name: raise it whenever the preprocessing changes.
_RECIPE = 1


@register_prefix("folder")
class Folder(Source):
    """The images below a folder.

    Args:
      path: the folder.
      max_unreadable: how many files may be left out because they cannot be read.
    """

    image_sizes = (64, 32, 128, 256)

    def __init__(self, path: str, max_unreadable: int = 0):
        if not path:
            raise checks.invalid("dataset", "folder:PATH with an existing folder", "'folder:'")
        self._path = pathlib.Path(path).expanduser().absolute()
        self._max_unreadable = max_unreadable
        self.name = f"folder:{self._path}"

    def info(self, data_dir: str | os.PathLike | None) -> DatasetInfo:
        index = self._index(data_dir)
        parts = self._parts(index)
        images = [
            f"{split}/{index.entries[row].label}/{index.entries[row].digest}\n"
            for split, rows in parts.items()
            for row in rows
        ]
        return DatasetInfo(
            name=self.name,
            shape=(self.image_sizes[0], self.image_sizes[0], _channels(index)),
            splits={split: len(rows) for split, rows in parts.items()},
            factors=None,
            labels=_classes(index) or None,
            source=f"the images below {self._path}",
            licence="the images' own",
            how_to_get="nothing to get: put images into the folder, or into a subfolder a class",
            fingerprint=hashlib.sha256("".join(images).encode()).hexdigest()[:12],
            notes=self._notes(index),
        )

    def check(self, data_dir):
        self._parts(self._index(data_dir))

    def open(self, split, image_size, data_dir):
        index = self._index(data_dir)
        images, labels = _decoded(self._path, index, image_size, _cache(data_dir))
        return Rows(images, labels, np.array(self._parts(index)[split]))

    def _index(self, data_dir: str | os.PathLike | None) -> folder_index.Index:
        index = folder_index.read(self._path, _cache(data_dir))
        count = len(index.unreadable)
        if count > self._max_unreadable:
            listed = "; ".join(f"{path}: {why}" for path, why in index.unreadable[:_NAMED])
            more = f"; and {count - _NAMED} more" if count > _NAMED else ""
            raise checks.invalid(
                "max_unreadable",
                f"at least {count}, the number of unreadable files in {self._path} "
                f"({listed}{more})",
                self._max_unreadable,
            )
        return index

    def _parts(self, index: folder_index.Index) -> dict[str, list[int]]:
        """Split -> places in the index, in an order that has nothing to do with the classes."""
        by_digest = np.argsort([entry.digest for entry in index.entries]).tolist()
        classes = collections.defaultdict(list)
        for rank, place in enumerate(by_digest):
            classes[index.entries[place].label].append(rank)
        parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
        for label, ranks in sorted(classes.items()):
            if len(ranks) < len(parts):
                raise checks.invalid(
                    "dataset",
                    "at least 3 different images in every class, one for each split "
                    f"({label or 'the folder'} has {len(ranks)})",
                    repr(self.name),
                )
            tenth = max(len(ranks) // 10, 1)
            parts["train"] += ranks[: -2 * tenth]
            parts["validation"] += ranks[-2 * tenth : -tenth]
            parts["test"] += ranks[-tenth:]
        return {
            split: [by_digest[rank] for rank in sorted(ranks)] for split, ranks in parts.items()
        }

    def _notes(self, index):
        notes = [f"left out, unreadable: {path}: {why}" for path, why in index.unreadable]
        notes += [f"left out, the same as another: {path}" for path in index.duplicates]
        sizes = [min(entry.width, entry.height) for entry in index.entries]
        if min(sizes) < self.image_sizes[0]:
            notes.append(
                f"shorter sides are from {min(sizes)} to {max(sizes)} pixels; images smaller than "
                "the image size are enlarged"
            )
        return tuple(notes)


def _cache(data_dir):
    return byte_cache.directory_for(data_directory(data_dir))


def _channels(index):
    return 1 if all(entry.is_grey for entry in index.entries) else 3


def _classes(index):
    return tuple(sorted({entry.label for entry in index.entries} - {""}))


@functools.lru_cache(maxsize=4)
def _decoded(path, index, image_size, cache):
    """(images, labels) in the index's order, from the cache once they have been decoded."""
    classes = _classes(index)
    labels = [classes.index(entry.label) if entry.label else -1 for entry in index.entries]
    recipe = preprocessing.recipe(_channels(index), image_size)
    shape = (len(index.entries), image_size, image_size, recipe["channels"])
    stem = f"folder-{index.key}-{image_size}-{_RECIPE}"
    (images,) = byte_cache.on_disk(
        cache, stem, _batches(path, index.entries, recipe), [(shape, np.dtype(np.uint8))]
    )
    return images, np.array(labels, np.int32)


def _batches(path, entries, recipe):
    decode = preprocessing.decoder(recipe)

    def image(entry):
        try:
            return decode((path / entry.path).read_bytes(), entry.path)
        except (OSError, ValueError) as error:
            raise checks.invalid(
                "dataset", f"images that can be read ({error})", repr(f"folder:{path}")
            ) from error

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for start in range(0, len(entries), _BATCH):
            yield (np.stack(list(pool.map(image, entries[start : start + _BATCH]))),)
