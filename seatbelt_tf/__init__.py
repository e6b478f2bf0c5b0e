"""Seatbelt-VAEs: variational autoencoders hardened against adversarial attack (ICLR 2021).

`import seatbelt_tf` loads nothing heavy: public names are imported on first use, so that programs
can refuse bad input before TensorFlow is loaded. Keras must nevertheless know the model's class
before `keras.models.load_model` meets it, so the class is imported together with Keras, whichever
of the two is imported first.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seatbelt_tf.model import SeatbeltVAE as SeatbeltVAE

_HOME = {"SeatbeltVAE": "seatbelt_tf.model"}
_MODULES = ("attacks", "datasets", "evaluation", "figures", "gaussians", "objectives", "runs")

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"seatbelt_tf.{name}")
    raise AttributeError(f"module 'seatbelt_tf' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)


class _ImportedWithKeras(importlib.abc.MetaPathFinder):
    """Imports the model's module right after Keras itself, once."""

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            # Not sooner: others look for the spec without importing Keras.
            def execute_and_register(module):
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                execute(module)
                importlib.import_module(_HOME["SeatbeltVAE"])

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


if "keras" in sys.modules:
    importlib.import_module(_HOME["SeatbeltVAE"])
else:
    sys.meta_path.insert(0, _ImportedWithKeras())
