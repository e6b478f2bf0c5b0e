"""Seatbelt-VAEs: variational autoencoders hardened against adversarial attack (ICLR 2021).

Public names are imported on first use, so that `import seatbelt_tf` is immediate and programs can
refuse bad input before TensorFlow is loaded.
"""

import importlib

_HOME = {"SeatbeltVAE": "seatbelt_tf.model"}
_MODULES = ("attacks", "datasets", "figures", "gaussians", "objectives")

__all__ = [*_HOME, *_MODULES]


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"seatbelt_tf.{name}")
    raise AttributeError(f"module 'seatbelt_tf' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
