"""A machine that serves the model needs TensorFlow and nothing of ours."""

import importlib.metadata
import json
import os
import subprocess
import sys

import numpy as np
import pytest

CODE = """
import json, sys, warnings
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
images = tf.zeros([2, 32, 32, 1])
embedding = model.signatures["serving_default"](images=images)["embedding"]
elbo = model.signatures["score"](images=images, seed=tf.constant([[5, 0], [6, 0]]))["elbo"]
foreign = sorted({"seatbelt_tf", "tensorflow_probability", "export"} & set(sys.modules))
print(json.dumps([embedding.numpy().tolist(), elbo.numpy().tolist(), foreign]))
"""


@pytest.mark.slow
def test_a_virtual_environment_with_tensorflow_alone_loads_and_runs_it(exported, tmp_path):
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    version = importlib.metadata.version("tensorflow")
    install = [python, "-m", "pip", "install", "-q", f"tensorflow=={version}"]
    if subprocess.run(install, check=False, capture_output=True).returncode:
        pytest.skip("TensorFlow cannot be installed here: no package index")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    listed = subprocess.run(
        [python, "-m", "pip", "list"], capture_output=True, text=True, check=True
    )
    assert "probability" not in listed.stdout
    result = subprocess.run(
        [python, "-c", CODE, exported.version],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    embedding, elbo, foreign = json.loads(result.stdout.splitlines()[-1])
    assert foreign == []
    images = np.zeros((2, 32, 32, 1), np.float32)
    means = np.concatenate([mean for mean, _ in exported.model.encode(images)], axis=1)
    np.testing.assert_allclose(embedding, means, atol=1e-5)
    expected = [exported.model.elbo(images[:1], seed=seed).numpy()[0] for seed in (5, 6)]
    np.testing.assert_allclose(elbo, expected, rtol=1e-5)
