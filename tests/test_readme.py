"""The README's Python blocks run as they stand, but for fewer steps."""

import pathlib
import re

import keras
import numpy as np
import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"


def test_the_table_of_results_is_the_one_that_the_program_wrote():
    place = "results/reproduction/cpu"
    table = (README.parent / place / "README.md").read_text(encoding="utf-8")
    assert table.replace("`](", f"`]({place}/") in README.read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    # The one that asks a server runs in tests/export/test_client.py.
    blocks = [block for block in blocks if "export import client" not in block]
    assert len(blocks) == 2
    names = {}
    exec(blocks[0].replace("take(100)", "take(2)"), names)
    assert (tmp_path / "seatbelt.keras").exists()
    inputs = keras.Input((16, 16, 1))
    flat = keras.layers.Flatten()(inputs)
    outputs = [keras.layers.Dense(3)(flat), keras.layers.Dense(3)(flat)]
    images, targets = np.random.default_rng(0).uniform(-1, 1, (2, 3, 16, 16, 1))
    names |= {
        "encoder": keras.Model(inputs, outputs),
        "decoder": keras.Sequential([keras.layers.Dense(256), keras.layers.Reshape((16, 16, 1))]),
        "images": images,
        "targets": targets,
    }
    exec(blocks[1], names)
    assert names["score"].closed_share.shape == (3,)
