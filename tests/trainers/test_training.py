"""The training loop: resuming is exact."""

import numpy as np
import pytest

from seatbelt_tf import runs
from trainers import program, training

CONFIG = {
    "model": {"image_shape": [64, 64, 1], "latent_dims": [4, 3], "beta": 6.0},
    "data": {"name": "sprites", "data_dir": None, "image_size": 64},
    "training": {
        "batch_size": 16,
        "learning_rate": 1e-3,
        "beta_2": 0.95,
        "warmup_steps": 5,
        "steps": 40,
        "seed": 0,
        "xla": False,
    },
}


@pytest.fixture(autouse=True)
def _short_validation(monkeypatch):
    monkeypatch.setattr(training, "VALIDATION_IMAGES", 200)
    monkeypatch.setattr(training, "REPORTS_A_CHECKPOINT", 2)


class StoppedError(Exception):
    """Raised in place of a kill."""


def test_a_stopped_run_resumes_to_the_weights_and_metrics_of_an_uninterrupted_one(
    tmp_path, monkeypatch
):
    whole, parts = (runs.Run(tmp_path / name) for name in ("whole", "parts"))
    whole.create(CONFIG)
    parts.create(CONFIG)
    expected = training.train(whole, CONFIG)

    def stop(self, step, *_):
        if step == 30:
            raise StoppedError

    with monkeypatch.context() as patched:
        original = program.Progress.update
        patched.setattr(program.Progress, "update", lambda *a: stop(*a) or original(*a))
        with pytest.raises(StoppedError):
            training.train(parts, CONFIG)
    assert not parts.model_file.exists()
    resumed = training.train(parts, CONFIG)
    for one, other in zip(expected.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    tables = [run.read_metrics() for run in (whole, parts)]
    for name in tables[0]:
        if name != "images_per_second":
            np.testing.assert_array_equal(tables[0][name], tables[1][name])
    assert tables[0]["step"] == [10, 20, 30, 40]
