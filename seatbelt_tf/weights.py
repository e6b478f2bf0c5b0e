"""Weights out of a .keras file without believing what else it says.

Keras's `load_model` builds whatever objects the file's own config names. Here the model is already
built, and only the HDF5 member with the tensors is read, after it was looked through.
"""

import math
import zipfile
import zlib

import h5py
import numpy as np

from seatbelt_tf import checks

MEMBER = "model.weights.h5"
# The weights, two moments of each, and the groups around them.
_COPIES, _OVERHEAD = 4, 2**24


def load(model, path):
    """Sets a built model's variables from a .keras file, by name, shape and dtype.

    Args:
        model: a `keras.Model` that is built.
        path: a file that `model.save` wrote; its optimizer, if any, is not read.

    Raises:
        ValueError: the file is damaged, holds links, compressed or external tensors, more than
            such a model can have, or tensors of other names, shapes or types.
    """
    limit = (
        _COPIES
        * sum(
            np.dtype(variable.dtype).itemsize * math.prod(variable.shape)
            for variable in model.variables
        )
        + _OVERHEAD
    )
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(MEMBER)
            size = entry.file_size
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{MEMBER} is compressed")
            if size > limit:
                raise ValueError(f"{MEMBER} has {size:,} bytes; the model needs {limit:,} at most")
            with archive.open(MEMBER) as member, h5py.File(member, "r") as file:
                _check_group(file, {np.dtype(variable.dtype) for variable in model.variables})
            # Its checksum, which h5py does not read to the end for.
            with archive.open(MEMBER) as member:
                while member.read(2**20):
                    pass
        model.load_weights(path)
    except (OSError, RuntimeError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise checks.invalid(
            "model.keras", "the weights of config.json's model", f"{path} ({reason})"
        ) from error


def _check_group(group, dtypes):
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{group.name}/{name} is a link")
        item = group[name]
        if isinstance(item, h5py.Group):
            # The optimizer's are not restored, and differ in type.
            if item.name != "/optimizer":
                _check_group(item, dtypes)
            continue
        if not isinstance(item, h5py.Dataset):
            raise ValueError(f"{item.name} is no array")
        if item.external or item.is_virtual or item.chunks is not None:
            raise ValueError(f"{item.name} is not stored as it is")
        if item.dtype not in dtypes:
            raise ValueError(f"{item.name} is {item.dtype}, as none of the model's weights is")
