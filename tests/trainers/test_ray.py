"""Studies on a Ray cluster of this machine: two nodes, of which one may be lost.

The oracle is the same study worked off here.
"""

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import programs
import pytest

from seatbelt_tf import tensors

EXPERIMENT = ("--experiment=figure3", "--scale=smoke")
DEADLINE_SECONDS = 600


def test_a_cluster_that_is_not_there_is_said_in_one_line(tmp_path):
    pytest.importorskip("ray")
    command = ("--executor=ray", "--ray_address=localhost:1")
    result = programs.run_program(
        "reproduce", *EXPERIMENT, *command, directory=tmp_path, without_tensorflow=True
    )
    programs.assert_refused(result, "a Ray cluster", "localhost:1")


@contextlib.contextmanager
def _cluster():
    """A head without cores and two nodes of one core each: yields the cluster and the nodes."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(programs.ROOT)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        yield cluster, nodes
    finally:
        cluster.shutdown()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _start(directory, address, until):
    """A study that runs, once a file is there whose path ends in `until`."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "trainers.reproduce",
            *EXPERIMENT,
            "--executor=ray",
            f"--ray_address={address}",
        ],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(programs.ROOT), "TF_NUM_INTRAOP_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not list(directory.rglob(until)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process


def _table(directory):
    path = directory / "results/reproduction/smoke/figure3-sprites/figure3.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _measures(directory):
    """Every measured array but the times, by model and measure.

    Files are also named by a hash of model.keras, in which Keras writes the time.
    """
    found = {}
    for path in (directory / "runs/studies").rglob("evaluation/*.npz"):
        arrays = tensors.load(path)
        name = path.parts[-3], path.stem.split("-")[0]
        assert name not in found
        found[name] = {key: value for key, value in arrays.items() if key != "seconds"}
    return found


@pytest.mark.slow
def test_a_study_on_two_nodes_equals_a_local_one_though_a_node_is_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    local, remote = tmp_path / "local", tmp_path / "remote"
    local.mkdir()
    remote.mkdir()
    result = programs.run_program("reproduce", *EXPERIMENT, directory=local)
    assert result.returncode == 0, result.stderr
    with _cluster() as (cluster, nodes):
        process = _start(remote, cluster.address, until="checkpoints/step-*.npz")
        cluster.remove_node(nodes[0], allow_graceful=False)
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, (output, errors)
    assert "2/2" in output
    assert _table(remote) == _table(local)
    ours, theirs = _measures(remote), _measures(local)
    assert ours.keys() == theirs.keys()
    for name, arrays in theirs.items():
        for key, values in arrays.items():
            np.testing.assert_array_equal(ours[name][key], values, err_msg=f"{name} {key}")


@pytest.mark.slow
def test_an_interrupted_driver_says_how_to_go_on(tmp_path):
    with _cluster() as (cluster, _):
        process = _start(tmp_path, cluster.address, until="config.json")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "started again with the same options it goes on" in errors
    assert errors.count("\n") == 1
