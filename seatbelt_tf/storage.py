"""Files that are never half written, JSON that means one thing, and locks between processes."""

import contextlib
import fcntl
import json
import math
import os
import pathlib
import secrets
from collections.abc import Iterable, Iterator
from typing import Any

from seatbelt_tf import checks

MAX_JSON_BYTES = 2**20


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A temporary path beside `path` that takes its place if the block succeeds."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        synchronise(temporary)
        os.replace(temporary, path)
        # The new name, too, must survive a power cut.
        synchronise(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path):
    """Removes the temporary files of `replacing(path)` that killed processes left behind.

    Only for who holds the lock on `path`: another's would be in use.
    """
    path = pathlib.Path(path)
    for leftover in path.parent.glob(f".{path.stem}-????????{path.suffix}"):
        leftover.unlink(missing_ok=True)


def synchronise(path):
    """Waits until a file or a directory's entries have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_place(name, path):
    """Raises ValueError unless files can be written to this directory, which may not be there yet.

    Args:
        name: what the message calls it.
        path: the directory.
    """
    absolute = pathlib.Path(path).absolute()
    try:
        nearest = next(place for place in (absolute, *absolute.parents) if place.exists())
        # Read, too: `synchronise` opens the directory.
        is_writable = nearest.is_dir() and os.access(nearest, os.R_OK | os.W_OK | os.X_OK)
        reason = None if is_writable else f"{nearest} cannot"
    except OSError as error:
        reason = str(error)
    if reason is not None:
        wanted = f"a place that can be written to ({reason})"
        raise checks.invalid(name, wanted, repr(str(path)))


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file, aside and renamed."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes JSON-compatible data, aside and renamed; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Reads JSON strictly.

    Args:
        path: the file.

    Returns:
        What the file holds.

    Raises:
        ValueError: not UTF-8 or not JSON, NaN or infinite numbers, a key given twice, nested too
            deeply, or too large.
        OSError: the file cannot be read.
    """
    path = pathlib.Path(path)
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_JSON_BYTES:,} bytes")
    try:
        return json.loads(
            path.read_text(encoding="utf-8"),
            parse_constant=_finite,
            parse_float=_finite,
            object_pairs_hook=_without_duplicates,
        )
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _finite(text):
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _without_duplicates(pairs):
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is given twice")
    return fields


@contextlib.contextmanager
def claim(path: str | os.PathLike, wait: bool = False) -> Iterator[bool]:
    """The right to write `path`, held by one process at a time while the block runs.

    The lock is the kernel's (flock on a hidden file beside `path`) and ends with the process that
    holds it, however that ends: there are no stale locks. Leftovers of earlier holders are removed.

    Args:
        path: what is to be written; need not exist.
        wait: until its holder is done, in place of giving up.

    Yields:
        Whether the right was had; always true with `wait`.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock_file(path)
    descriptor = _locked(lock, wait)
    if descriptor is None:
        yield False
        return
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        remove_leftovers(path)
        yield True
    finally:
        # Removed while it is still held, so that whoever locked it meanwhile notices.
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def holder(path):
    """The process that holds the claim on `path`, as words for a message."""
    try:
        return f"process {int(_lock_file(path).read_text())}"
    except (OSError, ValueError):
        return "another process"


def _lock_file(path):
    path = pathlib.Path(path)
    return path.with_name(f".{path.name}.lock")


def _locked(lock, wait):
    """An open, locked descriptor, or None when another process holds the lock."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        # Its holder removed it between our opening and our locking it: a new one is needed.
        os.close(descriptor)


def unfinished(paths: Iterable[str | os.PathLike]) -> Iterator[pathlib.Path]:
    """The files that are this process's to make, one after another, until all are there.

    Any number of processes may go through the same paths at once: no file is made twice, and what
    a killed process was making goes to another.

        for path in unfinished(paths):
            with replacing(path) as temporary:
                ...

    Args:
        paths: the files; each must be written whole (see `replacing`).

    Yields:
        A path, claimed until the next one is asked for.
    """
    waiting = [pathlib.Path(path) for path in paths]
    while waiting:
        busy = []
        for path in waiting:
            if path.exists():
                continue
            with claim(path) as is_mine:
                if not is_mine:
                    busy.append(path)
                elif not path.exists():
                    yield path
        if busy:
            with claim(busy[0], wait=True):
                pass
        waiting = busy


def check_links(root):
    """Raises ValueError if a symbolic link under `root` leads out of it."""
    root = pathlib.Path(root)
    inside = root.resolve()
    for directory, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = pathlib.Path(directory, name)
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise checks.invalid(
                    "run", "a directory whose files are all its own", f"a link out of it: {path}"
                )
