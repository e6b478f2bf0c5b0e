"""Datasets by name: `load` gives a `tf.data.Dataset` of images in [-1, 1].

Importing this package, `names`, `info`, `recipe` and `check` need no TensorFlow.
"""

from seatbelt_tf.datasets import (
    folder,  # noqa: F401
    preprocessing,
    published,  # noqa: F401
    sprites,
    swiss_roll,
)
from seatbelt_tf.datasets.pipeline import load
from seatbelt_tf.datasets.preprocessing import scale
from seatbelt_tf.datasets.registry import DatasetInfo, check, info, names, recipe

__all__ = [
    "DatasetInfo",
    "check",
    "info",
    "load",
    "names",
    "preprocessing",
    "recipe",
    "scale",
    "sprites",
    "swiss_roll",
]
