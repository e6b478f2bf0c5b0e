"""The tutorial runs from top to bottom."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from seatbelt_tf import datasets

ROOT = pathlib.Path(__file__).parents[1]
PICTURES = {
    "attack-Seatbelt-VAE.png",
    "attack-VAE.png",
    "images.png",
    "reconstructions-Seatbelt-VAE.png",
    "reconstructions-VAE.png",
}


def _run(directory, **environment):
    """What the tutorial prints when it is run in a directory."""
    result = subprocess.run(
        [sys.executable, ROOT / "docs" / "tutorial.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    place = directory / "runs" / "tutorial"
    pictures = {path.name for path in place.glob("*.png")}
    assert pictures >= PICTURES
    for name in pictures:
        Image.open(place / name).verify()
    assert (place / "served" / "seatbelt" / "1" / "saved_model.pb").is_file()
    assert float(result.stdout.rsplit(" ", 1)[1]) < 1e-4
    return result.stdout


def test_it_runs_quickly(tmp_path):
    _run(tmp_path, TUTORIAL="quick")


@pytest.mark.slow
def test_in_full_both_models_reconstruct_and_are_compared(tmp_path):
    text = _run(tmp_path, TUTORIAL="")
    errors = [float(error) for error in re.findall(r"squared error ([\d.]+)", text)]
    images = next(iter(datasets.load("sprites", "test", batch_size=500, image_size=32))).numpy()
    # A model that reconstructs every image as their mean has learnt nothing.
    guess = np.mean(np.sum(np.square(images - images.mean(axis=0)), axis=(1, 2, 3)))
    assert len(errors) == 2
    assert max(errors) < guess / 2
    areas = re.findall(r"area above blending (-?[\d.]+) \[(-?[\d.]+), (-?[\d.]+)\]", text)
    assert len(areas) == 2
    for area in areas:
        mean, lower, upper = map(float, area)
        assert -1 <= lower <= mean <= upper <= 1
    assert (tmp_path / "runs" / "tutorial" / "comparison.png").is_file()
