"""Datasets by name: `load` gives a `tf.data.Dataset` of images in [-1, 1].

Importing this package, `names`, `info` and `check` need no TensorFlow.
"""

from seatbelt_tf.datasets import sprites, tfds_images
from seatbelt_tf.datasets.pipeline import load, scale
from seatbelt_tf.datasets.registry import DatasetInfo, check, info, names

__all__ = ["DatasetInfo", "check", "info", "load", "names", "scale", "sprites", "tfds_images"]
