"""Asking a SavedModel through the C++ loader that TF Serving uses, in a process of its own."""

import contextlib
import importlib.util
import pathlib
import pickle
import subprocess
import sys
import tempfile

from export.errors import ServingError
from seatbelt_tf import checks

_NAMES = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS "
    "PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED "
    "INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED"
)
_CODES = _NAMES.split()


class ProcessDiedError(RuntimeError):
    """The process ended before it answered: what a server would have done, too."""


class Loader:
    """A SavedModel in a child process that has TensorFlow's C++ library and no Python TensorFlow.

    Use it as a context manager.

    Args:
        directory: of the SavedModel.

    Attributes:
        signatures: {signature: ({input: tensor name}, {output: tensor name})}.
        foreign_modules: packages that the child should not have imported, but did.
        seconds: that the last answered request took within the child.

    Raises:
        ServingError: the loader refused the directory.
        ProcessDiedError: it did not survive loading it.
        ValueError: this TensorFlow has no C++ library.
    """

    def __init__(self, directory):
        script = pathlib.Path(__file__).with_name("cpp_session.py")
        arguments = [sys.executable, "-P", str(script), library(), str(directory)]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        self.seconds = None
        try:
            self.signatures, self.foreign_modules = self._receive()
        except Exception:
            self.close()
            raise

    def predict(self, signature, inputs):
        """The outputs of a signature, dict of name to array.

        Args:
            signature: its name.
            inputs: dict of name to array, or to a list of bytes.

        Raises:
            ServingError: the request was refused.
            ProcessDiedError: the request ended the process.
        """
        try:
            pickle.dump((signature, inputs), self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            self._raise_death()
        outputs, self.seconds = self._receive()
        return outputs

    def close(self):
        """Ends the process."""
        # A dead one takes no rest of a request.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _receive(self):
        try:
            first, second = pickle.load(self._process.stdout)
        except EOFError:
            self._raise_death()
        if isinstance(first, int):
            raise ServingError(_CODES[first], second)
        return first, second

    def _raise_death(self):
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        raise ProcessDiedError(f"exit status {status}: {' '.join(lines[-3:])}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def library():
    """The path of TensorFlow's C++ library, found without importing TensorFlow.

    Raises:
        ValueError: there is none.
    """
    spec = importlib.util.find_spec("tensorflow")
    for place in spec.submodule_search_locations if spec else ():
        path = pathlib.Path(place) / "libtensorflow_cc.so.2"
        if path.is_file():
            return str(path)
    raise checks.invalid("tensorflow", "a build with its C++ library", "no libtensorflow_cc.so.2")
