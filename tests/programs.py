"""Running the programs as their users do."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from typing import NamedTuple

from seatbelt_tf import storage

ROOT = pathlib.Path(__file__).parents[1]
PROGRAMS = {
    "train": "trainers",
    "attack": "trainers",
    "evaluate": "trainers",
    "reproduce": "trainers",
    "prepare": "trainers",
    "saved_model": "export",
}
# The least that config.json says.
SMALLEST = {
    "model": {"image_shape": [32, 32, 1], "latent_dims": [2]},
    "data": {"name": "sprites", "data_dir": None, "image_size": 32},
}
SMALL = ("--latent_dims=4,3", "--batch_size=16", "--steps=20", "--run=run")


class Trained(NamedTuple):
    directory: pathlib.Path
    result: subprocess.CompletedProcess


def made_once(name, make, tmp_path_factory):
    """A directory that one of pytest-xdist's processes makes, and of which each has a copy."""
    own = tmp_path_factory.getbasetemp()
    whole = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / f"whole-{name}"
    with storage.claim(whole, wait=True):
        if not whole.exists():
            making = tmp_path_factory.mktemp(f"making-{name}")
            make(making)
            making.rename(whole)
    return pathlib.Path(shutil.copytree(whole, own / name))


def run_program(
    name, *arguments, directory, without_tensorflow=False, package="trainers", root=ROOT
):
    """Runs `python -m PACKAGE.NAME` of a tree in a directory, with a TensorFlow that cannot be
    imported if told so."""
    environment = dict(os.environ, PYTHONPATH=str(root))
    # As users have it: the programs keep TensorFlow quiet themselves.
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    if without_tensorflow:
        fake = directory / "fake" / "tensorflow"
        fake.mkdir(parents=True, exist_ok=True)
        (fake / "__init__.py").write_text("raise SystemExit('TensorFlow was imported')")
        environment["PYTHONPATH"] = f"{fake.parent}:{root}"
    return subprocess.run(
        [sys.executable, "-m", f"{package}.{name}", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def assert_refused(result, *words):
    """Asserts that a program ended with status 2 and one line, which has the words in it."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("python -m ")
    for word in words:
        assert word in result.stderr


def suggested(result):
    """The program that the last line of another suggests, and its arguments: a list of words."""
    mark, _, option, *words = shlex.split(result.stdout.splitlines()[-1])
    assert (mark, option) == ("next:", "-m")
    return words


def flags_of(text):
    """The flags of a --help in their order with their meanings."""
    pairs = re.findall(r"^  --(?:\[no\])?(\w+)\n((?:      .*\n)+)", text + "\n", re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in pairs}
