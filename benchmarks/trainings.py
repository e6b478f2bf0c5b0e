"""Trainings by the program that users call, kept and found again."""

import subprocess
import sys

from seatbelt_tf import runs


def scores_file(run):
    """Where a run's test scores are once it has any."""
    return run.evaluation / "test.json"


def scores(run, *options):
    """The test scores of a `trainers.train` run: a dict.

    A run without them is trained first, or gone on with where it was stopped.

    Args:
        run: a `runs.Run`.
        *options: flags of trainers.train.
    """
    path = scores_file(run)
    if not path.exists():
        state = "--resume" if run.config_file.exists() else "--overwrite"
        command = [sys.executable, "-m", "trainers.train", f"--run={run.path}", state, *options]
        subprocess.run(command, check=True)
    return runs.read_json(path)
