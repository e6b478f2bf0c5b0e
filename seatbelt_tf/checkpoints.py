"""Checkpoints in numbers: the newest usable one is restored, and what is wrong is said.

    step-00000040-0123456789abcdef.npz   arrays by name; the step and a hash of the arrays
    latest.json                          which one was written last, to notice that it is missing

A checkpoint is one file, written aside and renamed, and carries its own bookkeeping in its name.
"""

import pathlib
import re

import numpy as np

from seatbelt_tf import checks, storage, tensors

_NAME = re.compile(r"step-(\d{8,})-([0-9a-f]{16})\.npz")


class Checkpoints:
    """The checkpoints of one training.

    Args:
        directory: where they are; made when needed.
        keep: how many are kept.
    """

    def __init__(self, directory, keep=3):
        self.directory = pathlib.Path(directory)
        self.keep = keep
        self._latest = self.directory / "latest.json"

    def paths(self):
        """The files by step: list of (step, path), the newest last."""
        found = [
            (int(match[1]), path)
            for path in self.directory.glob("step-*.npz")
            if (match := _NAME.fullmatch(path.name))
        ]
        return sorted(found)

    def save(self, step, arrays):
        """Writes a checkpoint, then removes the oldest ones.

        Args:
            step: which.
            arrays: dict of name to NumPy array, all finite.

        Returns:
            Its path.

        Raises:
            FloatingPointError: an array has entries that are not finite; nothing was written.
            OSError: it cannot be written, the disk is full say; earlier ones are as they were.
        """
        for name, array in arrays.items():
            if not np.all(np.isfinite(array)):
                raise FloatingPointError(f"{name} is not finite at step {step}")
        path = self.directory / f"step-{step:08d}-{tensors.digest(arrays)}.npz"
        tensors.save(path, arrays)
        storage.write_json(self._latest, {"file": path.name})
        for _, old in self.paths()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def restore(self, expected, report):
        """The newest checkpoint that is whole; damaged ones are renamed to *.damaged.

        Args:
            expected: dict of name to (shape, dtype).
            report: called with a line of text for everything that is not as it should be.

        Returns:
            (step, arrays), or None when nothing was ever saved here.

        Raises:
            ValueError: there were checkpoints, or traces of them, and none can be used.
        """
        for leftover in (*self.directory.glob(".step-*"), *self.directory.glob(".latest-*")):
            leftover.unlink()
        found = self.paths()
        self._report_missing([path.name for _, path in found], report)
        for step, path in reversed(found):
            try:
                arrays = tensors.load(path, expected)
                if tensors.digest(arrays) != path.stem.rpartition("-")[2]:
                    raise ValueError("the contents are not those that were written")
            except ValueError as error:
                path.replace(path.with_suffix(".damaged"))
                report(f"{path} cannot be used, and was renamed to *.damaged: {error}")
                continue
            return step, arrays
        if self._latest.exists() or any(self.directory.glob("step-*")):
            raise lost(self.directory)
        return None

    def _report_missing(self, names, report):
        try:
            latest = str(storage.read_json(self._latest)["file"])
        except FileNotFoundError:
            if names:
                report(f"{self._latest} is missing: going by the names of the checkpoints")
            return
        except (ValueError, KeyError, TypeError) as error:
            report(f"{self._latest} is damaged ({error}): going by the names of the checkpoints")
            return
        if latest not in names:
            report(f"the latest checkpoint, {latest!r}, is missing from {self.directory}")


def lost(directory):
    """The ValueError of a run that has lost its checkpoints, with what can be done."""
    return checks.invalid(
        "checkpoints",
        f"a usable checkpoint in {directory}",
        "none; put the directory back from a copy, or start the run again with --overwrite in "
        "place of --resume",
    )
