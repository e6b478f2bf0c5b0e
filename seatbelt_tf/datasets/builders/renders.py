"""Images of a folder or an uncompressed tar archive, whose content nobody vouches for.

Nothing is ever extracted: members are read one by one, and only regular files whose names match a
pattern, that are no larger than a limit, and whose images have the expected size.
"""

import functools
import io
import itertools
import os
import pathlib
import re
import tarfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

MAX_FILE_BYTES = 2**23


class Render(NamedTuple):
    """One file: the pattern's groups in its name, and a function that reads it."""

    groups: tuple[str, ...]
    name: str
    read: Callable[[], bytes]


def renders(path: os.PathLike, pattern: str) -> list[Render]:
    """The files of a folder or tar archive whose paths match.

    Args:
      path: folder or archive.
      pattern: a regular expression for the whole relative path, with forward slashes.

    Returns:
      A list, sorted by the pattern's groups.

    Raises:
      ValueError: an archive that is damaged or cut short; a matching file that is not a regular
        file, is too large, or has a name that leaves the archive; two files with the same groups.
    """
    path = pathlib.Path(path)
    found = []
    for name, size, is_regular, read in (_folder if path.is_dir() else _archive)(path):
        match = re.fullmatch(pattern, name)
        if match is None:
            continue
        if not is_regular or ".." in name.split("/") or name.startswith("/"):
            raise ValueError(f"{path}: {name} is not a regular file inside it")
        if size > MAX_FILE_BYTES:
            raise ValueError(f"{path}: {name} has {size} bytes, more than {MAX_FILE_BYTES}")
        found.append(Render(match.groups(), name, read))
    found.sort(key=lambda render: render.groups)
    for before, after in itertools.pairwise(found):
        if before.groups == after.groups:
            raise ValueError(f"{path}: {before.name} and {after.name} are the same view")
    return found


def require_png(content: bytes, size: tuple[int, int] | None, name: str) -> None:
    """Raises ValueError unless the bytes are a PNG of that width and height (at most 4096² when
    None), by its header: nothing is decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            found = image.size
    except Exception as error:  # hostile bytes raise whatever they like in a decoder
        raise ValueError(f"{name} is not a PNG image ({type(error).__name__})") from error
    if (size is not None and found != size) or max(found) > 4096:
        wanted = "×".join(map(str, size)) if size else "at most 4096 on each side"
        raise ValueError(f"{name} has {found[0]}×{found[1]} pixels, expected {wanted}")


def _folder(path: pathlib.Path) -> Iterator[tuple]:
    def refuse(error):
        raise ValueError(f"{error.filename}: {error.strerror}") from error

    for directory, _, files in os.walk(path, onerror=refuse):
        for file in files:
            whole = pathlib.Path(directory, file)
            is_regular = whole.is_file() and not whole.is_symlink()
            size = whole.stat().st_size if is_regular else 0
            yield whole.relative_to(path).as_posix(), size, is_regular, whole.read_bytes


def _archive(path: pathlib.Path) -> Iterator[tuple]:
    # Uncompressed only, so that a small file cannot hold a huge one.
    try:
        with tarfile.open(path, "r:") as archive:
            members = archive.getmembers()
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path}: not a whole uncompressed tar archive ({error})") from error

    def read(member):
        with path.open("rb") as file:
            file.seek(member.offset_data)
            content = file.read(member.size)
        if len(content) != member.size:
            raise ValueError(f"{path}: {member.name} is cut short")
        return content

    for member in members:
        is_regular = member.isreg() and not member.issparse()
        yield member.name, member.size, is_regular, functools.partial(read, member)
