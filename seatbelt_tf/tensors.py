"""Arrays by name in .npz files that may come from anywhere: nothing in them is executed.

Headers are compared with what is expected, with the member's real size and with a limit before
any array is allocated; the archive's checksums are verified while reading.
"""

import errno
import hashlib
import math
import pathlib
import tokenize
import warnings
import zipfile
import zlib

import numpy as np

from seatbelt_tf import checks, storage

MAX_BYTES = 2**33
# DEFLATE shrinks nothing by more than this (RFC 1951: 258 bytes in 2 bits).
_MAX_COMPRESSION = 1032
_MAX_MEMBERS = 100_000
# Of reading what is damaged; an OSError may be, see `_is_damage`.
_DAMAGE = (
    EOFError,
    KeyError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def save(path, tensors, compressed=False):
    """Writes arrays by name, aside and renamed.

    Args:
        path: ends in ".npz".
        tensors: dict of name to array without Python objects.
        compressed: whether the file is to be small rather than soon written.
    """
    write = np.savez_compressed if compressed else np.savez
    with storage.replacing(path) as temporary:
        write(temporary, allow_pickle=False, **tensors)


def load(path, expected=None, max_bytes=MAX_BYTES):
    """Reads arrays by name.

    Args:
        path: an .npz file.
        expected: dict of name to (shape, dtype): exactly these arrays; None for any.
        max_bytes: what all arrays together may take.

    Returns:
        Dict of name to array, which cannot be written to.

    Raises:
        ValueError: the file is damaged or forged, holds Python objects, other arrays than
            expected, or more than `max_bytes`.
        OSError: it is not there or cannot be read, which says nothing of what is in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, max_bytes)
            if expected is not None:
                _compare(members, expected)
            return {name: _read(archive, *member) for name, member in members.items()}
    except (*_DAMAGE, OSError) as error:
        if not _is_damage(error):
            raise
        raise checks.invalid(
            "file", "arrays by name in .npz", f"{path} ({type(error).__name__}: {error})"
        ) from error


def load_whole(path, names=(), *, set_aside=False):
    """Reads arrays by name that can be computed again; warns where their file is damaged.

    Args:
        path: an .npz file, or nothing.
        names: arrays without which it is as good as damaged: another version's, say.
        set_aside: whether to rename a damaged file, for who computes its contents again. Who only
            reads leaves it where it is.

    Returns:
        Dict of name to array; None where the file is damaged, or not there.

    Raises:
        OSError: it is there and cannot be read, or not be renamed.
    """
    path = pathlib.Path(path)
    # Where nothing is damaged nothing is written: files may lie where only reading is allowed.
    found, damage = _whole(path, names)
    if damage is None:
        return found
    if not set_aside:
        warnings.warn(f"{path} counts as missing: {damage}", stacklevel=2)
        return None
    # Another process may be about to put a good file in its place.
    with storage.claim(path, wait=True):
        found, damage = _whole(path, names)
        if damage is not None:
            warnings.warn(f"{path} was renamed to *.damaged: {damage}", stacklevel=2)
            path.replace(path.with_suffix(".damaged"))
    return found


def _whole(path, names):
    """(a file's arrays or None, what is wrong with it: a ValueError or None)."""
    try:
        found = load(path)
        if not found.keys() >= set(names):
            raise ValueError(f"it holds {sorted(found)}, not {sorted(names)}")
    except FileNotFoundError:
        return None, None
    except ValueError as error:
        return None, error
    return found, None


def _is_damage(error):
    """Whether an error while reading is the contents' fault and not the system's.

    Of OSErrors those are that name no error of the system's (a decompressor's), and EINVAL: the
    place in the file that an archive's directory points to is none.
    """
    return not isinstance(error, OSError) or error.errno in (None, errno.EINVAL)


def digest(tensors):
    """A hash of names, types, shapes and contents: 16 hexadecimal digits."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()[:16]


def _members(archive, max_bytes):
    """Name -> (zip entry, shape, order, dtype), every size checked, no data read."""
    members, total = {}, 0
    if len(archive.infolist()) > _MAX_MEMBERS:
        raise ValueError(f"more than {_MAX_MEMBERS} arrays")
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name == entry.filename or name in members:
            raise ValueError(f"{entry.filename!r} is given twice or is no array")
        with archive.open(entry) as file:
            shape, is_fortran, dtype = _header(file)
            size = math.prod(shape) * dtype.itemsize
            if dtype.hasobject:
                raise ValueError(f"{name} holds Python objects")
            if file.tell() + size != entry.file_size:
                raise ValueError(f"{name} of shape {shape} does not have the size that it declares")
        if entry.file_size > _MAX_COMPRESSION * (entry.compress_size + 1):
            raise ValueError(f"{name} cannot have been compressed so far")
        total += size
        if total > max_bytes:
            raise ValueError(f"more than {max_bytes:,} bytes of arrays")
        members[name] = (entry, shape, "F" if is_fortran else "C", dtype)
    return members


def _header(file):
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise ValueError(f"unknown version {version} of the .npy format")
    shape, is_fortran, dtype = read[version](file)
    if any(size < 0 for size in shape):
        raise ValueError(f"a shape of {shape}")
    return shape, is_fortran, dtype


def _compare(members, expected):
    for name in members:
        if name not in expected:
            raise ValueError(f"{name} is not one of the {len(expected)} arrays expected")
    for name, (shape, dtype) in expected.items():
        if name not in members:
            raise ValueError(f"{name} is missing")
        _, found_shape, _, found_dtype = members[name]
        if found_shape != tuple(shape) or found_dtype != dtype:
            raise ValueError(
                f"{name} is {found_dtype} of shape {found_shape}, not {dtype} of {tuple(shape)}"
            )


def _read(archive, entry, shape, order, dtype):
    with archive.open(entry) as file:
        _header(file)
        # To the end of the member, where its checksum is compared.
        data = file.read()
    return np.frombuffer(data, dtype).reshape(shape, order=order)
