"""Quiet TensorFlow, an order and threads for every test, and what all programs say to --help."""

import os

import pytest
from programs import PROGRAMS, run_program

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)) >= len(os.sched_getaffinity(0)):
    # A core for each of pytest-xdist's processes, whose threads would take turns.
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")

# Begun first, in this order, so that no process is left alone with one of them in the end.
LONGEST = (
    *("test_model", "trainers/test_studies", "defences/test_defences", "trainers/test_training"),
    *("trainers/test_train_program", "test_docs", "attacks/test_minimize", "attacks/test_attack"),
    *("trainers/test_evaluate_program", "evaluation/test_downstream", "trainers/test_trial"),
    *("export/test_program", "trainers/test_attack_program", "test_tutorial", "test_replicas"),
    *("test_readme", "datasets/test_folder", "trainers/test_family", "export/test_contract"),
)


def pytest_collection_modifyitems(items):
    places = {f"tests/{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.split("::")[0], len(places)))


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
