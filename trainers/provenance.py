"""Which versions made a result."""

import importlib.metadata
import platform

PACKAGES = ("seatbelt-tf", "tensorflow", "keras", "tensorflow-probability", "numpy")


def describe():
    """{"versions": {name: version}}, for records; no package is imported."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {"versions": {"python": platform.python_version(), **versions}}
