"""A SavedModel in TensorFlow's C++ runtime, without Python TensorFlow: run as a child process.

    python -P cpp_session.py LIBRARY DIRECTORY

LIBRARY is libtensorflow_cc.so.2 of TensorFlow's wheel. Its C functions load DIRECTORY as TF Serving
does, with XLA disabled as TF Serving has it, and answer requests that come pickled on standard
input: (signature name, {input name: NumPy array, or list of bytes}). Answers go pickled to standard
output: ({output name: array}, seconds) or (code, message), codes as in absl. Nothing but NumPy is
imported; a kernel that aborts takes this process with it and no other.
"""

import ctypes
import os
import pickle
import sys
import time

import numpy as np

INVALID_ARGUMENT, FAILED_PRECONDITION = 3, 9
_DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 9: np.int64, 10: np.bool_}
_DTYPES |= {19: np.float16}
_CODES = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
_POINTERS = (
    "TF_NewStatus TF_Message TF_NewGraph TF_NewSessionOptions TF_NewBuffer TF_TensorData "
    "TF_LoadSessionFromSavedModel TF_GraphOperationByName TF_AllocateTensor"
)
_STRING = 7
_STRING_BYTES = 24


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("deallocator", ctypes.c_void_p),
    )


class RefusedError(Exception):
    """A request that the runtime answered with an error: (code, message)."""


class Session:
    """A loaded SavedModel.

    Args:
        library: path of libtensorflow_cc.so.2.
        directory: of the SavedModel.

    Raises:
        RefusedError: the directory cannot be loaded.
    """

    def __init__(self, library, directory):
        self._c = c = ctypes.CDLL(library)
        for name in _POINTERS.split():
            getattr(c, name).restype = ctypes.c_void_p
        c.TF_Dim.restype = ctypes.c_int64
        c.TF_TensorByteSize.restype = ctypes.c_size_t
        c._ZN10tensorflow21DisableXlaCompilationEv()
        self._status = ctypes.c_void_p(c.TF_NewStatus())
        self._graph = ctypes.c_void_p(c.TF_NewGraph())
        meta_graph = ctypes.cast(ctypes.c_void_p(c.TF_NewBuffer()), ctypes.POINTER(_Buffer))
        self._session = c.TF_LoadSessionFromSavedModel(
            ctypes.c_void_p(c.TF_NewSessionOptions()),
            None,
            directory.encode(),
            (ctypes.c_char_p * 1)(b"serve"),
            1,
            self._graph,
            meta_graph,
            self._status,
        )
        self._check()
        self._session = ctypes.c_void_p(self._session)
        buffer = meta_graph.contents
        self.signatures = _signatures(ctypes.string_at(buffer.data, buffer.length))

    def predict(self, name, inputs):
        """Runs a signature: dict of output name to array, and the seconds that it took.

        Raises:
            RefusedError: by the runtime, or, for unknown names, as TF Serving's predict does.
        """
        if name not in self.signatures:
            raise RefusedError(FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        known, outputs = self.signatures[name]
        extra = sorted(set(inputs) - set(known))
        if extra:
            raise RefusedError(
                INVALID_ARGUMENT,
                f"input size does not match signature. Sent extra: {','.join(extra)}",
            )
        start = time.perf_counter()
        tensors = [self._tensor(value) for value in inputs.values()]
        results = (ctypes.c_void_p * len(outputs))()
        self._c.TF_SessionRun(
            self._session,
            None,
            self._places([known[key] for key in inputs]),
            (ctypes.c_void_p * len(tensors))(*(tensor.value for tensor in tensors)),
            len(tensors),
            self._places(outputs.values()),
            results,
            len(outputs),
            None,
            0,
            None,
            self._status,
        )
        for tensor, value in zip(tensors, inputs.values(), strict=True):
            self._delete(tensor, value)
        self._check()
        arrays = [self._array(ctypes.c_void_p(result)) for result in results]
        seconds = time.perf_counter() - start
        return dict(zip(outputs, arrays, strict=True)), seconds

    def _check(self):
        code = self._c.TF_GetCode(self._status)
        if code:
            message = ctypes.string_at(self._c.TF_Message(self._status)).decode("utf-8", "replace")
            raise RefusedError(code, message)

    def _places(self, names):
        places = []
        for name in names:
            operation, _, index = name.rpartition(":")
            found = self._c.TF_GraphOperationByName(self._graph, operation.encode())
            places.append(_Output(found, int(index)))
        return (_Output * len(places))(*places)

    def _tensor(self, value):
        if isinstance(value, list):
            return self._strings(value)
        array = np.ascontiguousarray(value)
        tensor = self._allocate(_CODES[array.dtype], np.shape(value), array.nbytes)
        ctypes.memmove(self._c.TF_TensorData(tensor), array.ctypes.data, array.nbytes)
        return tensor

    def _strings(self, values):
        tensor = self._allocate(_STRING, (len(values),), len(values) * _STRING_BYTES)
        for place, text in self._string_places(tensor, values):
            self._c.TF_StringInit(place)
            self._c.TF_StringCopy(place, text, ctypes.c_size_t(len(text)))
        return tensor

    def _string_places(self, tensor, values):
        start = self._c.TF_TensorData(tensor)
        return [
            (ctypes.c_void_p(start + _STRING_BYTES * index), text)
            for index, text in enumerate(values)
        ]

    def _allocate(self, code, shape, size):
        dims = (ctypes.c_int64 * len(shape))(*shape)
        return ctypes.c_void_p(
            self._c.TF_AllocateTensor(code, dims, len(shape), ctypes.c_size_t(size))
        )

    def _delete(self, tensor, value=()):
        if isinstance(value, list):
            for place, _ in self._string_places(tensor, value):
                self._c.TF_StringDealloc(place)
        self._c.TF_DeleteTensor(tensor)

    def _array(self, tensor):
        shape = [self._c.TF_Dim(tensor, axis) for axis in range(self._c.TF_NumDims(tensor))]
        dtype = _DTYPES[self._c.TF_TensorType(tensor)]
        data = ctypes.string_at(self._c.TF_TensorData(tensor), self._c.TF_TensorByteSize(tensor))
        self._delete(tensor)
        return np.frombuffer(data, dtype).reshape(shape)


def _signatures(meta_graph):
    """Of a serialised MetaGraphDef: {signature: ({input: tensor name}, {output: tensor name})}."""
    found = {}
    for entry in _fields(meta_graph).get(5, []):
        key, signature = _entry(entry)
        maps = _fields(signature)
        found[key] = tuple(
            {
                name: _fields(tensor)[1][0].decode()
                for name, tensor in map(_entry, maps.get(side, []))
            }
            for side in (1, 2)
        )
    return found


def _entry(message):
    fields = _fields(message)
    return fields[1][0].decode(), fields[2][0]


def _fields(message):
    """The length-delimited fields of a protocol buffer by number, the others skipped."""
    fields, position = {}, 0
    while position < len(message):
        tag, position = _varint(message, position)
        if tag & 7 == 0:
            _, position = _varint(message, position)
        elif tag & 7 == 2:
            length, position = _varint(message, position)
            fields.setdefault(tag >> 3, []).append(message[position : position + length])
            position += length
        else:
            position += 8 if tag & 7 == 1 else 4
    return fields


def _varint(message, position):
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position += 1
        shift += 7
        if byte < 128:
            return value, position


def main():
    """Loads, says so, and answers until standard input ends."""
    # The runtime prints; only answers may reach the pipe.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def answer(value):
        pickle.dump(value, answers)
        answers.flush()

    try:
        session = Session(*sys.argv[1:])
    except RefusedError as error:
        return answer(error.args)
    foreign = {"tensorflow", "keras", "seatbelt_tf", "export"} & set(sys.modules)
    answer((session.signatures, sorted(foreign)))
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return None
        try:
            answer(session.predict(*request))
        except RefusedError as error:
            answer(error.args)


if __name__ == "__main__":
    main()
