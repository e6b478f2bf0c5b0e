"""What is in a folder of images: every file read through once, without TensorFlow.

The result is kept as JSON in the cache and used again until a file's name, size or time changes.
"""

import concurrent.futures
import contextlib
import functools
import hashlib
import io
import json
import os
import pathlib
import stat
import warnings
from typing import NamedTuple

from seatbelt_tf import checks, runs

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP")
# A decoded image of this size takes 200 MB; a small file can claim far more.
MAX_PIXELS = 2**26
MAX_FILE_BYTES = 2**28
# Part of the index's name: raise it whenever the index changes.
_FORMAT = 1


class Entry(NamedTuple):
    """A readable image: relative path, class folder or "", SHA-256, size, whether it is grey."""

    path: str
    label: str
    digest: str
    width: int
    height: int
    is_grey: bool


class Index(NamedTuple):
    """A folder's readable images and the other files, with the reason.

    Attributes:
      key: changes whenever a file's name, size or time does.
      entries: by path.
      duplicates: paths of files with the same bytes as an entry.
      unreadable: (path, reason) pairs.
    """

    key: str
    entries: tuple[Entry, ...]
    duplicates: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]


def read(path: pathlib.Path, cache: pathlib.Path) -> Index:
    """The index of a folder, from the cache if nothing changed.

    Args:
      path: the folder.
      cache: directory for the JSON file.

    Returns:
      An `Index` with at least one entry.

    Raises:
      ValueError: no such folder, no permission, no images in it, none that can be read, or some
        images in class folders and some beside them.
    """
    files = _files(path)
    listing = json.dumps([_FORMAT, [(name, *_identity(path / name)) for name in files]])
    return _read(path, cache, files, hashlib.sha256(listing.encode()).hexdigest()[:16])


@functools.lru_cache(maxsize=8)
def _read(path, cache, files, key):
    kept = cache / f"folder-{key}.json"
    try:
        index = _from_json(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        index = _index(path, files, key)
        with contextlib.suppress(OSError):  # a full disk costs time, nothing else
            runs.write_json(kept, index._asdict())
    if not index.entries:
        name, reason = index.unreadable[0]
        raise checks.invalid(
            "dataset", f"a folder with a readable image ({name}: {reason})", repr(f"folder:{path}")
        )
    if len({bool(entry.label) for entry in index.entries}) == 2:
        beside = next(entry.path for entry in index.entries if not entry.label)
        raise checks.invalid(
            "dataset",
            f"all images in class subfolders, or none ({beside} is in none)",
            repr(f"folder:{path}"),
        )
    return index


def _from_json(value):
    return Index(
        value["key"],
        tuple(Entry(*entry) for entry in value["entries"]),
        tuple(value["duplicates"]),
        tuple((name, reason) for name, reason in value["unreadable"]),
    )


def _files(path):
    """Relative paths of the files that look like images, sorted; hidden ones are left out."""
    name = repr(f"folder:{path}")
    if not path.is_dir():
        raise checks.invalid("dataset", "folder:PATH with an existing folder", name)

    def refuse(error):
        raise checks.invalid(
            "dataset", f"a folder that can be read ({error.filename}: {error.strerror})", name
        ) from error

    found = []
    for directory, folders, files in os.walk(path, onerror=refuse):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        found += [
            pathlib.Path(directory, file).relative_to(path).as_posix()
            for file in files
            if file.lower().endswith(SUFFIXES) and not file.startswith(".")
        ]
    if not found:
        raise checks.invalid("dataset", f"a folder with images ({', '.join(SUFFIXES)})", name)
    for file in found:
        if not file.isprintable():
            raise checks.invalid(
                "dataset", f"printable file names in UTF-8 ({file!a} is not)", name
            )
    return tuple(sorted(found))


def _identity(path):
    try:
        status = path.stat()
    except OSError as error:
        return (error.strerror,)
    return status.st_size, status.st_mtime_ns


def _index(path, files, key):
    from PIL import Image

    # Pillow warns below the size at which it refuses; ours is the smaller limit.
    with warnings.catch_warnings(), concurrent.futures.ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        results = list(pool.map(lambda file: _inspect(path, file), files))
    entries, duplicates, unreadable, seen = [], [], [], set()
    for file, result in zip(files, results, strict=True):
        if isinstance(result, str):
            unreadable.append((file, result))
        elif result.digest in seen:
            duplicates.append(file)
        else:
            seen.add(result.digest)
            entries.append(result)
    return Index(key, tuple(entries), tuple(duplicates), tuple(unreadable))


def _inspect(path, file):
    """An `Entry`, or the reason why there is none."""
    from PIL import Image

    try:
        # Opening a named pipe would wait for ever.
        status = (path / file).stat()
        if not stat.S_ISREG(status.st_mode):
            return "not a regular file"
        if status.st_size > MAX_FILE_BYTES:
            return f"larger than {MAX_FILE_BYTES} bytes"
        content = (path / file).read_bytes()
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                return f"{width}×{height}, more than {MAX_PIXELS} pixels"
            is_grey = image.mode in ("1", "L", "LA", "I;16")
            image.draft(image.mode, (1, 1))
            image.load()
    except Exception as error:  # hostile files raise whatever they like in a decoder
        return (str(error) or type(error).__name__).replace("\n", " ").split("<_io")[0].strip()
    label = file.split("/")[0] if "/" in file else ""
    return Entry(file, label, hashlib.sha256(content).hexdigest(), width, height, is_grey)
