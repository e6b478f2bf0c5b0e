"""Datasets by name: `load` gives a `tf.data.Dataset` of images in [-1, 1].

Importing this package, `names`, `info`, `recipe` and `check` need no TensorFlow.
"""

from seatbelt_tf.datasets import (
    folder,
    preprocessing,
    published,
    sprites,
    swiss_roll,
    tfds_images,
)
from seatbelt_tf.datasets.pipeline import load
from seatbelt_tf.datasets.preprocessing import scale
from seatbelt_tf.datasets.registry import DatasetInfo, check, info, names, recipe

__all__ = [
    "DatasetInfo",
    "check",
    "folder",
    "info",
    "load",
    "names",
    "preprocessing",
    "published",
    "recipe",
    "scale",
    "sprites",
    "swiss_roll",
    "tfds_images",
]
