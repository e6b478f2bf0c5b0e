"""The training loop: resuming after a kill is exact."""

import os
import subprocess
import sys

import numpy as np
import programs

from seatbelt_tf import runs

CONFIG = {
    "model": {"image_shape": [64, 64, 1], "latent_dims": [4, 3], "beta": 6.0},
    "data": {"name": "sprites", "data_dir": None, "image_size": 64},
    "training": {
        "batch_size": 32,
        "learning_rate": 1e-3,
        "beta_2": 0.95,
        "warmup_steps": 5,
        "steps": 40,
        "seed": 0,
        "xla": False,
    },
}

# A process for each training: a second one in the same process names its operations otherwise,
# and TensorFlow then orders some sums otherwise.
_SCRIPT = """
import os, sys
import numpy as np
from seatbelt_tf import runs
from trainers import program, training

training.VALIDATION_IMAGES = 200
training.REPORTS_A_CHECKPOINT = 2
run, last_step = runs.Run(sys.argv[1]), int(sys.argv[2])
update = program.Progress.update

def update_or_die(self, step, *others):
    if step == last_step:
        os._exit(9)
    return update(self, step, *others)

program.Progress.update = update_or_die
model = training.train(run, run.config())
np.savez(run.path / "weights.npz", *[variable.numpy() for variable in model.variables])
"""


def _train(run, last_step):
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(run.path), str(last_step)],
        env=dict(os.environ, PYTHONPATH=str(programs.ROOT)),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_killed_run_resumes_to_the_weights_and_metrics_of_an_uninterrupted_one(tmp_path):
    whole, parts = (runs.Run(tmp_path / name) for name in ("whole", "parts"))
    for run in (whole, parts):
        run.create(CONFIG)
    result = _train(whole, -1)
    assert result.returncode == 0, result.stderr
    assert _train(parts, 30).returncode == 9
    assert not parts.model_file.exists()
    result = _train(parts, -1)
    assert result.returncode == 0, result.stderr
    assert "step 30/40" in result.stdout
    assert "step 20/40" not in result.stdout
    weights = [np.load(run.path / "weights.npz") for run in (whole, parts)]
    for name in weights[0].files:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
    tables = [run.read_metrics() for run in (whole, parts)]
    for name in tables[0]:
        if name != "images_per_second":
            np.testing.assert_array_equal(tables[0][name], tables[1][name])
    assert tables[0]["step"] == [10, 20, 30, 40]
