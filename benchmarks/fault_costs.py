"""What op determinism and checkpoints cost, and what changes the bits of a training."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]

_TIME = """
import json, sys, time
import tensorflow as tf
options = json.loads(sys.argv[1])
if options["deterministic"]:
    tf.config.experimental.enable_op_determinism()
import numpy as np
from seatbelt_tf import SeatbeltVAE, datasets, runs
from trainers import keeper, training
import keras

run = runs.Run(sys.argv[2])
run.create({}, overwrite=True)
model = SeatbeltVAE(**options["model"])
model.compile(optimizer=keras.optimizers.Adam(1e-3, beta_2=0.95))
model.optimizer.build(model.trainable_variables)
size = options["model"]["image_shape"][0]
images = datasets.load("sprites", "train", batch_size=options["batch_size"], image_size=size,
                       seed=0, repeat=True, as_uint8=True)
strategy, never = tf.distribute.get_strategy(), tf.Variable(0.0)
steps = training._compiled_steps(strategy, model, options["xla"], never)
iterator = iter(images)
times = []
for _ in range(options["calls"] + 1):
    started = time.perf_counter()
    steps(iterator, tf.constant(5), tf.constant(0.0))
    times.append((time.perf_counter() - started) / 5)
from seatbelt_tf import tensors
digest = tensors.digest({str(i): v.numpy() for i, v in enumerate(model.variables)})
saving = []
kept = keeper.Keeper(run, model, 0, strategy)
for step in range(3):
    started = time.perf_counter()
    kept._saved = None
    kept.save()
    saving.append(time.perf_counter() - started)
(path, *_) = run.checkpoints.glob("*.npz")
print(json.dumps({
    "ms_a_step": round(1000 * float(np.median(times[1:])), 2),
    "weights": digest,
    "checkpoint_seconds": round(float(np.median(saving)), 3),
    "checkpoint_mib": round(path.stat().st_size / 2**20, 1),
}))
"""
_SMALL = {
    "model": {"image_shape": [32, 32, 1], "latent_dims": [6, 4], "beta": 6.0},
    "batch_size": 32,
    "calls": 6,
    "xla": False,
    "deterministic": True,
}
_DEFAULT = _SMALL | {
    "model": {"image_shape": [64, 64, 1], "latent_dims": [48, 24, 12, 6], "beta": 6.0},
    "batch_size": 64,
    "calls": 8,
}


def _time(directory, options, **environment):
    result = subprocess.run(
        [sys.executable, "-c", _TIME, json.dumps(options), str(directory / "timed")],
        env=dict(os.environ, PYTHONPATH=str(ROOT), TF_CPP_MIN_LOG_LEVEL="3", **environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        return {"failed": result.stderr.strip().splitlines()[-1][:300]}
    return json.loads(result.stdout.splitlines()[-1])


def measure_determinism(directory):
    """Times of a training step with and without op determinism, and weights by setting."""
    default = {
        name: [_time(directory, _DEFAULT | {"deterministic": flag}) for _ in range(2)]
        for name, flag in (("with op determinism", True), ("without", False))
    }
    settings = {
        "again": {},
        "one thread (TF_NUM_INTRAOP_THREADS=1)": {"TF_NUM_INTRAOP_THREADS": "1"},
        "one operation at a time (TF_NUM_INTEROP_THREADS=1)": {"TF_NUM_INTEROP_THREADS": "1"},
        "no oneDNN (TF_ENABLE_ONEDNN_OPTS=0)": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    }
    reference = _time(directory, _SMALL)["weights"]
    found = {name: _time(directory, _SMALL, **change) for name, change in settings.items()}
    found["XLA"] = _time(directory, _SMALL | {"xla": True})
    found["no op determinism"] = _time(directory, _SMALL | {"deterministic": False})
    return {
        "default_model": default,
        "same_weights_after_35_steps": {
            name: result.get("failed") or result["weights"] == reference
            for name, result in found.items()
        },
    }
