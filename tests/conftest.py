"""Quiet TensorFlow for every test, and what all programs say to --help."""

import os

import pytest
from programs import PROGRAMS, run_program

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def helps(tmp_path_factory):
    """What every program says to --help, without TensorFlow: dict of name to text."""
    directory = tmp_path_factory.mktemp("help")
    found = {}
    for name, package in PROGRAMS.items():
        result = run_program(
            name, "--help", directory=directory, without_tensorflow=True, package=package
        )
        assert (result.returncode, result.stderr) == (0, "")
        found[name] = result.stdout
    return found
