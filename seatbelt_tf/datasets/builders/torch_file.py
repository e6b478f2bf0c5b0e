"""One uint8 tensor out of a file written by `torch.save`, without PyTorch and without trust.

Such a file is a pickle, and unpickling runs whatever the file asks for. Here only the three names
that a saved tensor needs are known, each replaced by a function of ours. Two layouts exist: a zip
archive (since PyTorch 1.6) and, before it, five pickles followed by the raw bytes.
"""

import collections
import io
import math
import pickle
import zipfile
from typing import BinaryIO

import numpy as np

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class _Storage:
    """The bytes of a tensor, filled in once they have been reached."""

    def __init__(self, key, size):
        self.key, self.size = key, size


class _Tensor:
    """A C-contiguous view of a storage."""

    def __init__(self, storage, offset, shape, stride, *_):
        shape, stride = tuple(map(int, shape)), tuple(map(int, stride))
        contiguous = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        if stride != contiguous or offset != 0 or math.prod(shape) != storage.size:
            raise pickle.UnpicklingError("a tensor that is not one contiguous block")
        self.storage, self.shape = storage, shape


class _Unpickler(pickle.Unpickler):
    _KNOWN = {  # noqa: RUF012
        ("torch", "ByteStorage"): "uint8",
        ("torch._utils", "_rebuild_tensor"): _Tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
        ("collections", "OrderedDict"): collections.OrderedDict,
    }

    def find_class(self, module, name):
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self._KNOWN[module, name]

    def persistent_load(self, pid):
        kind, storage_type, key, _, size, *_ = pid
        if kind != "storage" or storage_type != "uint8":
            raise pickle.UnpicklingError("a storage that is not of bytes")
        return _Storage(str(key), int(size))


def read(file: BinaryIO) -> np.ndarray:
    """The tensor.

    Args:
      file: a seekable binary file.

    Returns:
      uint8 array of the tensor's shape.

    Raises:
      ValueError: not such a file, cut short, or with anything but one uint8 tensor in it.
    """
    try:
        is_zip = zipfile.is_zipfile(file)
        file.seek(0)
        return _read_zip(file) if is_zip else _read_pickles(file)
    except Exception as error:  # hostile pickles raise whatever they like
        raise ValueError(f"not a file with one uint8 tensor by torch.save: {error}") from error


def _read_zip(file):
    with zipfile.ZipFile(file) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("a compressed archive")
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        tensor = _tensor(_Unpickler(io.BytesIO(archive.read(pickled))).load())
        name = f"{pickled.removesuffix('data.pkl')}data/{tensor.storage.key}"
        if archive.getinfo(name).file_size != tensor.storage.size:
            raise ValueError("the tensor's bytes are not all there")
        return _array(archive.read(name), tensor)


def _read_pickles(file):
    if (_Unpickler(file).load(), _Unpickler(file).load()) != (_MAGIC, _PROTOCOL):
        raise ValueError("no magic number")
    _Unpickler(file).load()  # the writer's byte order and integer sizes: irrelevant to bytes
    tensor = _tensor(_Unpickler(file).load())
    if [str(key) for key in _Unpickler(file).load()] != [tensor.storage.key]:
        raise ValueError("another storage than the tensor's")
    if int.from_bytes(file.read(8), "little") != tensor.storage.size:
        raise ValueError("a storage of another size")
    return _array(file.read(tensor.storage.size), tensor)


def _tensor(loaded):
    if not isinstance(loaded, _Tensor):
        raise ValueError(f"a {type(loaded).__name__} in place of a tensor")
    return loaded


def _array(content, tensor):
    if len(content) != tensor.storage.size:
        raise ValueError("the tensor's bytes are not all there")
    return np.frombuffer(content, np.uint8).reshape(tensor.shape)
