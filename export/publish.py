"""Version directories: 1, 2, 3 … of a model, each there completely or not at all.

A server looks for children whose names are numbers, at any moment. A version is therefore built
beside the others under a name that is none, synced to the disk, and renamed.
"""

import fcntl
import os
import pathlib
import shutil

from seatbelt_tf import storage

_UNFINISHED = ".unfinished"


def check_place(model_dir):
    """Raises ValueError unless versions can be written to this directory; touches nothing."""
    storage.check_place("model_dir", model_dir)


def publish(model_dir, build):
    """Builds the next version, the first above all that are there; earlier ones stay as they are.

    Exports into the same directory take turns; what a killed one left behind is removed.

    Args:
        model_dir: parent of the versions, made if need be.
        build: called with an empty directory to fill; its exceptions leave no version.

    Returns:
        The version's directory, a Path.
    """
    model_dir = pathlib.Path(model_dir)
    model_dir.mkdir(parents=True, exist_ok=True)
    directory = os.open(model_dir, os.O_RDONLY)
    staging = model_dir / _UNFINISHED
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            build(staging)
            _sync(staging)
            version = model_dir / str(1 + max(versions(model_dir), default=0))
            os.rename(staging, version)
            os.fsync(directory)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    finally:
        os.close(directory)
    return version


def versions(model_dir):
    """The version numbers in a directory, ascending."""
    names = [path.name for path in pathlib.Path(model_dir).iterdir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def _sync(directory):
    """Waits until everything under a directory has reached the disk."""
    for parent, _, files in os.walk(directory):
        for path in (*(os.path.join(parent, name) for name in files), parent):
            storage.synchronise(path)
