"""The processes that `benchmarks.faults` disturbs: a small training, a small battery."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = {
    "model": {"image_shape": [32, 32, 1], "latent_dims": [6], "beta": 1.0},
    "data": {"name": "sprites", "data_dir": None, "image_size": 32},
    "training": {
        "batch_size": 16,
        "learning_rate": 1e-3,
        "beta_2": 0.95,
        "warmup_steps": 5,
        "steps": 60,
        "seed": 0,
        "xla": False,
    },
}
PAIRS, WEIGHTS = 60, 3

_TRAIN = """
import sys
from seatbelt_tf import runs
from trainers import program
directory = sys.argv.pop()
del sys.argv[1:]

def main():
    print("loading", flush=True)
    program.import_tensorflow(deterministic=True)
    from trainers import training
    training.VALIDATION_IMAGES = 200
    run = runs.Run(directory)
    training.train(run, run.config(), checkpoint_seconds=0)

program.start(main, "")
"""
_BATTERY = f"""
import sys
import numpy as np
from seatbelt_tf import runs
from seatbelt_tf.attacks import battery, paper_weights

run, name = runs.Run(sys.argv[-1]), sys.argv[1].split()[-1]
# One pair a part, so that there is something to share.
battery.ATTACKS_AT_ONCE = 1
solve = battery.Battery._solve

def solve_and_say(self, path, *others):
    solve(self, path, *others)
    print("made", path.name, flush=True)

battery.Battery._solve = solve_and_say
images = np.random.default_rng(0).uniform(-1, 1, (2, {PAIRS}, 32, 32, 1)).astype(np.float32)
options = dict(objective="latent_kl", layers="all", ancestors="mean", draws=2,
               max_evaluations=20, restarts=0, seed=0)
attacks = battery.Battery(
    run.load_model(), *images, paper_weights({WEIGHTS}), run.attacks, options, {{"name": name}}
)
records = attacks.run(lambda done: None)
np.savez(run.path / f"{{name}}.npz", **records)
"""


def start(kind, run):
    """A child process: kind "train" or "battery NAME"."""
    return subprocess.Popen(
        [sys.executable, "-c", _TRAIN if kind == "train" else _BATTERY, kind, str(run.path)],
        env=dict(os.environ, PYTHONPATH=str(ROOT), TF_CPP_MIN_LOG_LEVEL="3"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def battery_records(run, name, finish):
    """The records of a battery that is run to its end."""
    status, output, _ = finish(run, f"battery {name}")
    if status:
        raise RuntimeError(output)
    with np.load(run.path / f"{name}.npz") as records:
        return dict(records)


def weights_hash(run):
    """A hash of all state after the last step, from the name of the last checkpoint."""
    last = max(run.checkpoints.glob("step-*.npz"), default=None)
    return re.search(r"step-\d+-(\w+)", last.name)[0] if last and run.model_file.exists() else None


def poison():
    """Fifty attacks of which one meets an encoder that gives NaN: are the others the same?"""
    import tensorflow as tf

    from seatbelt_tf import SeatbeltVAE, attacks

    class Poisoned:
        """The model, but NaN wherever an image's first pixel is the marker."""

        def __init__(self, model):
            self._model = model
            self.image_shape, self.latent_dims = model.image_shape, model.latent_dims

        def posteriors(self, images, noise=None):
            is_marked = images[:, 0, 0, 0] == 0.125
            return tf.nest.map_structure(
                lambda t: tf.where(
                    tf.reshape(is_marked, [-1] + [1] * (len(t.shape) - 1)), float("nan"), t
                ),
                self._model.posteriors(images, noise),
            )

        def log_likelihood(self, images, latents):
            return self._model.log_likelihood(images, latents)

        def priors(self, latents):
            return self._model.priors(latents)

    model = SeatbeltVAE(image_shape=(32, 32, 1), latent_dims=(6, 4), beta=1.0)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 50, 32, 32, 1)).astype(np.float32)
    images[0, :, 0, 0, 0] = 0.5
    poisoned = images.copy()
    poisoned[0, 17, 0, 0, 0] = 0.125
    weights = np.geomspace(1e-3, 1e3, 50)
    clean, spoilt = (
        attacks.attack(Poisoned(model), *pair, weights, max_evaluations=30)
        for pair in (images, poisoned)
    )
    others = np.arange(50) != 17
    equal = np.ones(50, bool)
    for one, other in zip(clean, spoilt, strict=True):
        equal &= np.array([np.array_equal(a, b) for a, b in zip(one, other, strict=True)])
    return {
        "attacks": 50,
        "others_equal_to_the_bit": int(equal[others].sum()),
        "status_of_the_poisoned_one": attacks.Status(int(spoilt.status[17])).name,
    }
