"""Decoded images kept as uint8: in memory when small, otherwise in memory-mapped .npy files.

A cache file is written aside and renamed when complete, so that a file which is there is whole.
What a killed process left aside is removed by the next one that writes.
"""

import contextlib
import fcntl
import os
import pathlib
import secrets
import stat
import tempfile
import time
from collections.abc import Iterable, Sequence

import numpy as np

MAX_BYTES_IN_MEMORY = 2**29
# Between creating a file and locking it.
_GRACE_SECONDS = 60


def in_memory(
    batches: Iterable[tuple[np.ndarray, ...]], specs: Sequence[tuple]
) -> tuple[np.ndarray, ...]:
    """Joins batches of arrays.

    Args:
      batches: tuples of arrays with the same leading dimension.
      specs: for each member of the tuples, the (shape, dtype) of the whole.

    Returns:
      One array for each member.

    Raises:
      ValueError: more or fewer rows than `specs` says.
    """
    arrays = tuple(np.empty(shape, dtype) for shape, dtype in specs)
    filled = 0
    for batch in batches:
        end = filled + len(batch[0])
        if end <= len(arrays[0]):
            for array, part in zip(arrays, batch, strict=True):
                array[filled:end] = part
        filled = end
    _require_rows(filled, len(arrays[0]))
    return arrays


def on_disk(
    directory: pathlib.Path,
    stem: str,
    batches: Iterable[tuple[np.ndarray, ...]],
    specs: Sequence[tuple],
) -> tuple[np.ndarray, ...]:
    """As `in_memory`, but memory-mapped from <directory>/<stem>-<k>.npy.

    Existing files of the right shape are used, and then `batches` is not touched.

    Raises:
      ValueError: more or fewer rows than `specs` says.
      OSError: the files cannot be written (a full disk, say); none is left half written.
    """
    paths = [directory / f"{stem}-{member}.npy" for member in range(len(specs))]
    arrays = _open_all(paths, specs)
    if arrays is not None:
        return arrays
    remove_abandoned(directory)
    with contextlib.ExitStack() as stack:
        files = []
        for path, (shape, dtype) in zip(paths, specs, strict=True):
            # Rows are written one after another, not through a memory map: on a full disk that is
            # an error, where a memory map would end the process.
            # Other machines that share the directory have the same process numbers.
            aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
            stack.callback(aside.unlink, missing_ok=True)
            file = stack.enter_context(open(aside, "xb"))
            fcntl.flock(file, fcntl.LOCK_EX)
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": tuple(shape)}
            np.lib.format.write_array_header_1_0(file, header)
            files.append(file)
        rows = 0
        for batch in batches:
            for file, part, (_, dtype) in zip(files, batch, specs, strict=True):
                file.write(np.ascontiguousarray(part, dtype).tobytes())
            rows += len(batch[0])
        _require_rows(rows, specs[0][0][0])
        for file, path in zip(files, paths, strict=True):
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
    return _open_all(paths, specs)


def remove_abandoned(directory: pathlib.Path) -> None:
    """Removes half-written files whose writers are gone: their locks went with them."""
    for path in directory.glob(".*.part"):
        # Another process may remove it first, or it may belong to another user.
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - path.stat().st_mtime > _GRACE_SECONDS:
                path.unlink()


def _open_all(paths, specs):
    arrays = []
    for path, (shape, dtype) in zip(paths, specs, strict=True):
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            return None
        if array.shape != tuple(shape) or array.dtype != dtype:
            return None
        arrays.append(array)
    return tuple(arrays)


def _require_rows(rows: int, expected: int) -> None:
    if rows != expected:
        raise ValueError(
            f"Invalid value for data_dir. Expected {expected} examples, as its dataset_info.json "
            f"says. Received: {rows} examples"
        )


def directory_for(data_dir: pathlib.Path) -> pathlib.Path:
    """<data_dir>/seatbelt_cache, or a directory of ours among the temporary files when that
    cannot be written."""
    wanted = data_dir / "seatbelt_cache"
    with contextlib.suppress(OSError):
        wanted.mkdir(exist_ok=True)
        if os.access(wanted, os.W_OK):
            return wanted
    fallback = pathlib.Path(tempfile.gettempdir()) / f"seatbelt_cache_{os.getuid()}"
    fallback.mkdir(mode=0o700, exist_ok=True)
    status = fallback.lstat()
    # The name can be guessed: another user may have put something else there.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise OSError(f"{fallback} is not a directory of this user; remove it or set TMPDIR")
    return fallback
