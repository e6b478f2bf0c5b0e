"""One small training by the program itself, shared by the tests of all programs."""

import pickle

import pytest
from programs import SMALL, Trained, made_once, run_program


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The directory in which run/ was trained, and what the program said."""

    def train(directory):
        result = run_program("train", *SMALL, directory=directory)
        (directory / "said.pickle").write_bytes(pickle.dumps(result))

    directory = made_once("trained", train, tmp_path_factory)
    return Trained(directory, pickle.loads((directory / "said.pickle").read_bytes()))
