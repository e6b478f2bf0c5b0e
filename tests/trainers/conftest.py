"""One small training by the program itself, shared by the tests of all programs."""

import pytest
from programs import SMALL, Trained, run_program


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The directory in which run/ was trained, and what the program said."""
    directory = tmp_path_factory.mktemp("trained")
    return Trained(directory, run_program("train", *SMALL, directory=directory))
