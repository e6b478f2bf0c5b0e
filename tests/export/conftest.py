"""One exported model, and its C++ loader, shared by all tests of the package."""

from typing import NamedTuple

import numpy as np
import pytest
from programs import made_once
from serving import Exported, make_run

from export import cpp_loader, exporter
from seatbelt_tf import runs


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A run, its Keras model and the version exported from it."""

    def export(directory):
        run, _ = make_run(directory / "run")
        exporter.export_run(run, directory / "models" / "seatbelt")

    directory = made_once("exported", export, tmp_path_factory)
    run = runs.Run(directory / "run")
    return Exported(run, run.load_model(), directory / "models" / "seatbelt" / "1")


@pytest.fixture(scope="session")
def loader(exported):
    with cpp_loader.Loader(exported.version) as loader:
        yield loader


class Batch(NamedTuple):
    images: np.ndarray
    seed: np.ndarray


@pytest.fixture(scope="session")
def batch(exported):
    random = np.random.default_rng(7)
    images = random.uniform(-1, 1, (33, *exported.model.image_shape)).astype(np.float32)
    seed = np.stack([random.integers(0, 2**20, 33), np.zeros(33, np.int64)], axis=1)
    return Batch(images, seed.astype(np.int32))
