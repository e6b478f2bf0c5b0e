"""TFDS's own test of a builder, for each of ours."""

import pytest
import tensorflow_datasets as tfds
from test_builders import CHAIRS, FACES, chairs, faces  # noqa: F401

from seatbelt_tf.datasets.builders import Chairs, Faces3d

pytest.importorskip("dill", reason="tfds.testing needs it")


@pytest.fixture(scope="module", autouse=True)
def _dummy_data(chairs, faces):  # noqa: F811
    patch = pytest.MonkeyPatch()
    patch.setattr(Chairs, "MODELS", CHAIRS[0])
    patch.setattr(Chairs, "AZIMUTHS", CHAIRS[2])
    patch.setattr(Faces3d, "COUNTS", FACES)
    TestChairs.EXAMPLE_DIR, TestFaces3d.EXAMPLE_DIR = chairs, faces
    yield
    patch.undo()


class TestChairs(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Chairs
    SPLITS = {"train": 18 * 6, "validation": 6, "test": 6}  # noqa: RUF012


class TestFaces3d(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Faces3d
    SPLITS = {"train": 24}  # noqa: RUF012
