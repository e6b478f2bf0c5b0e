"""Workers in processes of their own, on this machine: what they compute, and how they come and go.

The oracle is one process that trains alone with the same global batch.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import types

import numpy as np
import programs
import pytest
import tensorflow as tf
from PIL import Image

from seatbelt_tf import checkpoints, runs, tensors
from trainers import distribution

# At such a small rate rounding does not grow from step to step.
OPTIONS = (
    "--latent_dims=4,3",
    "--image_size=32",
    "--batch_size=32",
    "--learning_rate=1e-6",
    "--steps=60",
    "--noreport",
)
DEADLINE_SECONDS = 500
# trainers.train where TensorFlow sees two devices, as on a machine with two GPUs.
_TWO_DEVICES = """
import runpy, sys, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
sys.argv[0] = "trainers.train"
runpy.run_module("trainers.train", run_name="__main__", alter_sys=True)
"""


def _ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("localhost", 0))
        return [opened.getsockname()[1] for opened in sockets]


@contextlib.contextmanager
def _workers(directory, *arguments, of_second=()):
    """Two processes that train one model; ended in any case. The second may have more options."""
    addresses = [f"localhost:{port}" for port in _ports(2)]
    command = [sys.executable, "-m", "trainers.train", "--strategy=multi_worker", *arguments]
    processes = [
        subprocess.Popen(
            [*command, *(of_second if index else ())],
            cwd=directory,
            env={
                **os.environ,
                "PYTHONPATH": str(programs.ROOT),
                "TF_CONFIG": json.dumps(
                    {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
                ),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


def _results(processes):
    outputs = [process.communicate(timeout=DEADLINE_SECONDS) for process in processes]
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *output)
        for process, output in zip(processes, outputs, strict=True)
    ]


def _wait_for_step(run, step, processes):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not any(int(path.name[5:13]) >= step for path in run.checkpoints.glob("step-*.npz")):
        ended = [process for process in processes if process.poll() is not None]
        assert not ended, ended[0].communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _state(run):
    _, path = checkpoints.Checkpoints(run.checkpoints).paths()[-1]
    return {name: array.astype(np.float64) for name, array in tensors.load(path).items()}


@pytest.mark.slow
def test_workers_that_are_killed_stopped_and_fewer_end_like_one_that_is_left_alone(tmp_path):
    alone = programs.run_program("train", *OPTIONS, "--run=alone", directory=tmp_path)
    assert alone.returncode == 0, alone.stderr
    run = runs.Run(tmp_path / "run")
    often = ("--run=run", "--checkpoint_seconds=0")

    with _workers(tmp_path, *OPTIONS, *often) as processes:
        _wait_for_step(run, 10, processes)
        processes[1].send_signal(signal.SIGKILL)
        chief, _ = _results(processes)
    assert chief.returncode == 6, chief.stderr
    assert "worker 1 (localhost:" in chief.stderr
    assert "was lost" in chief.stderr
    again = "--run=run --resume --checkpoint_seconds=0.0 --noreport --strategy=multi_worker"
    assert again in chief.stderr
    assert chief.stderr.count("\n") == 1
    reached = max(int(path.name[5:13]) for path in run.checkpoints.glob("step-*.npz"))
    assert 10 <= reached < 60

    with _workers(tmp_path, "--resume", *often) as processes:
        _wait_for_step(run, reached + 10, processes)
        processes[1].send_signal(signal.SIGTERM)
        results = _results(processes)
    assert [result.returncode for result in results] == [143, 143], results
    assert f"going on from step {reached}" in results[0].stdout
    assert results[1].stdout == ""

    last = programs.run_program("train", "--resume", *often, directory=tmp_path)
    assert last.returncode == 0, last.stderr
    assert "workers was 2, is 1" in last.stdout
    _assert_same_training(tmp_path, "alone", "run")


def _assert_same_training(directory, *names):
    """The same metrics and the same last state."""
    tables = [runs.Run(directory / name).read_metrics() for name in names]
    assert tables[0]["step"] == tables[1]["step"]
    # float32 sums over images in another order.
    for name in ("elbo", "log_likelihood", "total_correlation", "val_elbo"):
        np.testing.assert_allclose(tables[0][name], tables[1][name], rtol=1e-4, atol=1e-4)
    theirs, ours = (_state(runs.Run(directory / name)) for name in names)
    # Weights, moving statistics and Adam's means of gradients, which the batch is summed up in.
    for name in theirs:
        difference = np.linalg.norm(ours[name] - theirs[name])
        assert difference <= 1e-3 * np.linalg.norm(theirs[name]) + 1e-6, name


def _train_on_two_devices(directory, *arguments):
    return subprocess.run(
        [sys.executable, "-c", _TWO_DEVICES, *OPTIONS, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(programs.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_two_devices_of_one_process_train_like_one(tmp_path):
    for name, options in (("one", ()), ("two", ("--strategy=mirrored",))):
        result = _train_on_two_devices(tmp_path, f"--run={name}", *options)
        assert result.returncode == 0, result.stderr
    _assert_same_training(tmp_path, "one", "two")


def test_what_is_refused_overwrites_nothing(tmp_path):
    run = runs.Run(tmp_path / "run")
    run.create(programs.SMALLEST)
    run.model_file.write_text("trained")
    refused = "--run=run", "--overwrite", "--strategy=mirrored", "--batch_size=33"
    result = _train_on_two_devices(tmp_path, *refused)
    assert (result.returncode, "a multiple of 2 replicas" in result.stderr) == (2, True)
    assert run.model_file.read_text() == "trained"


@pytest.mark.slow
def test_two_workers_finish_together_and_only_one_of_them_writes(tmp_path):
    with _workers(tmp_path, *OPTIONS[:-1], "--steps=20", "--run=run") as processes:
        results = _results(processes)
    assert [result.returncode for result in results] == [0, 0], results
    assert [result.stderr for result in results] == ["", ""]
    assert "step 20/20" in results[0].stdout
    assert results[1].stdout == ""
    run = runs.Run(tmp_path / "run")
    assert json.loads(run.config_file.read_text())["machine"]["workers"] == 2
    assert (run.evaluation / "test.json").is_file()
    # events.out.tfevents.SECONDS.HOST.PROCESS.NUMBER, with .test what it ended with, .v2
    writers = [re.search(r"\.(\d+)\.\d+(\.test)?\.v2$", path.name) for path in run.events.iterdir()]
    assert {writer[1] for writer in writers} == {str(processes[0].pid)}


def _folder(path, seed):
    path.mkdir()
    pixels = np.random.default_rng(seed).integers(0, 256, (50, 32, 32, 1)).astype(np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image[:, :, 0]).save(path / f"{number}.png")


def test_workers_that_lost_each_other_without_a_word_are_told_so(monkeypatch):
    monkeypatch.setattr(distribution, "_SECONDS_TO_VANISH", -1)
    cluster = types.SimpleNamespace(absent=list)
    for message, told in (("", "UnavailableError"), ("Socket closed\nat", "Socket closed")):
        error = tf.errors.UnavailableError(None, None, message)
        assert distribution.lost(cluster, error) == f"the workers lost each other ({told})"


def test_workers_agree_on_the_images_and_not_on_where_they_are():
    data = {"name": "folder:/a", "data_dir": None, "image_size": 32, "fingerprint": "1"}
    config = {"model": {"beta": 1.0}, "training": {"steps": 2}, "data": data}
    own = distribution.agreed(config)
    for changed, is_same in (
        ({"name": "folder:/b", "data_dir": "/c"}, True),
        ({"fingerprint": "2"}, False),
        ({"image_size": 64}, False),
        ({"preprocessing": {"crop": 16}}, False),
    ):
        other = distribution.agreed({**config, "data": {**data, **changed}})
        assert np.array_equal(own, other) == is_same
    assert np.any(own != distribution.agreed({**config, "model": {"beta": 2.0}}))


@pytest.mark.slow
@pytest.mark.parametrize("other", ["--beta=3", "--dataset=folder:b"])
def test_workers_with_different_settings_or_images_say_so(other, tmp_path):
    for seed, name in enumerate("ab"):
        _folder(tmp_path / name, seed)
    run = runs.Run(tmp_path / "run")
    run.create(programs.SMALLEST)
    before = run.config_file.read_text()
    anew = "--dataset=folder:a", "--run=run", "--overwrite"
    with _workers(tmp_path, *OPTIONS, *anew, of_second=[other]) as processes:
        results = _results(processes)
    assert run.config_file.read_text() == before
    assert [result.returncode for result in results] == [2, 2], results
    for result in results:
        assert "the same on all workers" in result.stderr
        assert result.stderr.count("\n") == 1
