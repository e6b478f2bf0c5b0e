"""Files that someone might hand on to do harm; each maker writes one and returns its path."""

import base64
import io
import json
import marshal
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np


class _Exploit:
    """Unpickled, it makes a directory: proof that something was executed."""

    def __init__(self, trap):
        self.trap = str(trap)

    def __reduce__(self):
        return (os.mkdir, (self.trap,))


def pickle_in_npz(path, trap):
    np.savez(path, x=np.array([_Exploit(trap)], dtype=object))


def raw_pickle_named_npz(path, trap):
    path.write_bytes(pickle.dumps(_Exploit(trap)))


def forged_header_npz(path, trap):
    """Declares a tebibyte and holds 64 bytes."""
    del trap
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (2**38,)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(64))


def negative_shape_npz(path, trap):
    del trap
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -4)}".ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", data)


def zip_bomb_npz(path, trap):
    """A quarter of a gibibyte of zeros in 256 kilobytes."""
    del trap
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (2**28,)}
    )
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        for _ in range(2**8):
            member.write(bytes(2**20))


NPZ = {
    maker.__name__: maker
    for maker in (
        pickle_in_npz,
        raw_pickle_named_npz,
        forged_header_npz,
        negative_shape_npz,
        zip_bomb_npz,
    )
}


def escaping_tar(path):
    """A tar archive with a file whose path leads out of it."""
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("../escaped.png")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"here"))


_CODE = {
    "class_name": "Lambda",
    "config": {"function": "__import__('os').mkdir('trap')"},
    "module": "keras.layers",
}
_MODEL = {"image_shape": [32, 32, 1], "latent_dims": [2]}
_DATA = {"name": "sprites", "data_dir": None, "image_size": 32}
CONFIGS = {
    "no data": {"format": 1, "model": _MODEL},
    **{
        f"data without {left_out}": {
            "format": 1,
            "model": _MODEL,
            "data": {name: value for name, value in _DATA.items() if name != left_out},
        }
        for left_out in _DATA
    },
    **{
        f"a list as {name}": {"format": 1, "model": _MODEL, "data": {**_DATA, name: [1]}}
        for name in _DATA
    },
    "a number in the command": {"format": 1, "model": _MODEL, "data": _DATA, "command": [1]},
    "code in place of a model": {"format": 1, "model": _CODE},
    "code as an option": {"format": 1, "model": {"beta": "__import__('os').mkdir('trap')"}},
    "a dtype that names a class": {"format": 1, "model": {"dtype": _CODE}},
    "an unknown field": {"format": 1, "model": {}, "pickle": "gASV"},
    "a misspelt field": {"format": 1, "model": {"latent_dim": [4]}},
    "a path in place of a number": {"format": 1, "training": {"steps": "/etc/passwd"}},
    "NaN": '{"format": 1, "model": {"beta": NaN}}',
    "infinity": '{"format": 1, "model": {"beta": 1e999}}',
    "a key twice": '{"format": 1, "model": {"beta": 1, "beta": 2}}',
    "deep nesting": "[" * 200_000,
    "two megabytes": '{"format": 1, "command": "' + "x" * 2**21 + '"}',
    "not UTF-8": b'{"format": 1, "command": "\xff"}',
    "a list": "[1]",
}


def write_config(path, content):
    """Writes one of `CONFIGS`."""
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def write_lambda_keras(path, trap):
    """A .keras file whose config is a Lambda layer with Python code in it, and without weights."""
    code = compile(f"__import__('os').mkdir({str(trap)!r})", "", "eval")
    code = base64.b64encode(marshal.dumps(code))
    config = {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"function": {"class_name": "__lambda__", "config": {"code": code.decode()}}},
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", '{"keras_version": "3.15.0"}')
        archive.writestr("model.weights.h5", b"")


def rewrite_keras(path, change):
    """Replaces the HDF5 member of a .keras file by what `change` makes of its bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["model.weights.h5"] = change(members["model.weights.h5"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
