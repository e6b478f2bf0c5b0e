"""The training loop: resuming is exact; what stops it leaves the last good state and says so."""

import json
import os
import subprocess
import sys

import numpy as np
import programs
import pytest
import tensorflow as tf
from PIL import Image

from seatbelt_tf import runs
from trainers import machine, program, training

CONFIG = {
    "model": {"image_shape": [32, 32, 1], "latent_dims": [4, 3], "beta": 6.0},
    "data": {"name": "sprites", "data_dir": None, "image_size": 32},
    "training": {
        "batch_size": 32,
        "learning_rate": 1e-3,
        "beta_2": 0.95,
        "warmup_steps": 5,
        "steps": 60,
        "seed": 0,
        "xla": False,
    },
}

# A process for each training: a second one in the same process names its operations otherwise,
# and TensorFlow then orders some sums otherwise.
_SCRIPT = """
import os, resource, signal, sys
import numpy as np
from seatbelt_tf import runs
from trainers import program, terminal

directory, how, last_step = sys.argv[1], sys.argv[2], int(sys.argv[3])
del sys.argv[1:]

def stop(step):
    if step == last_step and how == "full disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    if step == last_step and how.startswith("SIGTERM"):
        for _ in how.split():
            os.kill(os.getpid(), signal.SIGTERM)

def spoil(model, terms):
    import tensorflow as tf
    wrong = tf.where(model.optimizer.iterations == last_step, float("nan"), 0.0)
    return terms._replace(loss=terms.loss + wrong, log_likelihood=terms.log_likelihood + wrong)

def main():
    program.import_tensorflow(deterministic=True)
    from seatbelt_tf import SeatbeltVAE
    from trainers import training

    training.VALIDATION_IMAGES = 200
    training.REPORTS_A_CHECKPOINT = 2
    run, update = runs.Run(directory), terminal.Progress.update
    def update_or_stop(self, step, *others):
        stop(step)
        return update(self, step, *others)
    terminal.Progress.update = update_or_stop
    if how == "NaN":
        objective = SeatbeltVAE._objective
        SeatbeltVAE._objective = lambda self, *a, **k: spoil(self, objective(self, *a, **k))
    # None is due by the clock.
    options = {"checkpoint_seconds": 1e9, "arguments": ["--strategy=default"]}
    model = training.train(run, run.config(), **options)
    np.savez(run.path / "weights.npz", *[variable.numpy() for variable in model.variables])

program.start(main, "")
"""


def _train(run, how="", last_step=-1):
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(run.path), how, str(last_step)],
        env=dict(os.environ, PYTHONPATH=str(programs.ROOT)),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed."""
    run = runs.Run(tmp_path_factory.mktemp("whole") / "run")
    run.create(CONFIG)
    result = _train(run)
    assert result.returncode == 0, result.stderr
    assert "checkpoints of" in result.stdout
    return run


def test_a_run_that_is_stopped_in_every_way_ends_like_an_undisturbed_one(whole, tmp_path):
    run = runs.Run(tmp_path / "run")
    run.create(CONFIG)
    # The second signal does not wait for a checkpoint, as a kill would not.
    result = _train(run, "SIGTERM SIGTERM", 30)
    assert result.returncode == 143
    assert "at once" in result.stderr
    assert not run.model_file.exists()
    assert [int(path.name[5:13]) for path in sorted(run.checkpoints.glob("*.npz"))] == [0, 20]

    result = _train(run, "full disk", 30)
    assert result.returncode == 5
    assert "going on from step 20" in result.stdout
    assert "Saved: step 20. To go on: " in result.stderr
    assert result.stderr.endswith(
        f" -m trainers.train --run={run.path} --resume --strategy=default\n"
    )
    assert result.stderr.count("\n") == 1

    result = _train(run, "SIGTERM", 30)
    assert result.returncode == 143
    assert "SIGTERM. Saved: step 3" in result.stderr

    result = _train(run, "NaN", 45)
    assert result.returncode == 4
    assert "stopped after step 45: Invalid loss at step 45" in result.stderr
    assert "loss = nan, log_likelihood = nan. Saved: step 45" in result.stderr
    assert "gradients" not in result.stderr
    # All is deterministic: resumed it would stop there again.
    assert "To go on" not in result.stderr
    assert "--resume would end the same way; what may help a new run: a smaller" in result.stderr

    result = _train(run)
    assert result.returncode == 0, result.stderr
    assert "going on from step 45" in result.stdout
    weights = [np.load(r.path / "weights.npz") for r in (whole, run)]
    for name in weights[0].files:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
    tables = [r.read_metrics() for r in (whole, run)]
    for name in tables[0]:
        if name != "images_per_second":
            np.testing.assert_array_equal(tables[0][name], tables[1][name])
    assert tables[0]["step"] == [10, 20, 30, 40, 50, 60]


def test_a_training_whose_output_nobody_reads_ends_as_any_program(tmp_path, monkeypatch):
    def print_to_nobody(*_):
        raise BrokenPipeError

    monkeypatch.setattr(training, "_loop", print_to_nobody)
    run = runs.Run(tmp_path / "run")
    run.create(CONFIG)
    # Another pipe than standard output's.
    with pytest.raises(program.StopError, match="Saved: step 0") as stopped:
        training.train(run, CONFIG)
    assert stopped.value.status == program.CANNOT_WRITE
    monkeypatch.setattr(program, "is_unread", lambda error: True)
    # `program.start` makes status 141 of it.
    with pytest.raises(BrokenPipeError):
        training.train(run, CONFIG)


def test_events_that_a_full_disk_refuses_stop_a_training_as_other_files_do(tmp_path, monkeypatch):
    def write_events(*_):
        message = "{{function_node …}} run/events; No space left on device\n\tFailed to flush"
        raise tf.errors.ResourceExhaustedError(None, None, message)

    monkeypatch.setattr(training, "_loop", write_events)
    run = runs.Run(tmp_path / "run")
    run.create(CONFIG)
    with pytest.raises(program.StopError, match=r"\(run/events; No space left on device\)") as full:
        training.train(run, CONFIG)
    assert full.value.status == program.CANNOT_WRITE


@pytest.mark.parametrize(("count", "wanted", "found"), [(120, 10_000, 96), (330, 220, 264)])
def test_small_folders_are_adapted_to_as_a_whole(count, wanted, found, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    data = {"name": f"folder:{tmp_path / 'images'}", "data_dir": None, "image_size": 32}
    images = training._some_images(data, wanted)
    assert len({image.tobytes() for image in images}) == len(images) == found


def test_what_changes_bits_is_described_and_compared():
    here = machine.describe(xla=False)
    assert json.loads(json.dumps(here)) == here
    assert here["threads"] == len(os.sched_getaffinity(0))
    assert machine.differences(here, here) == []
    assert machine.differences({}, here) == []
    (difference,) = machine.differences(here | {"xla": True}, here)
    assert difference == "xla was True, is False"
