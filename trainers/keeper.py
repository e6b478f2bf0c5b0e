"""Saves and restores everything that a training has changed."""

import time

import numpy as np

from seatbelt_tf import checkpoints
from trainers import program


class Keeper:
    """The state of a training, by name, and its checkpoints.

    Args:
        run: a `runs.Run`.
        model: its model, compiled, with the optimizer's variables made.
        seconds: time after which a checkpoint is due.
    """

    def __init__(self, run, model, seconds):
        self._run, self._model, self._seconds = run, model, seconds
        self._checkpoints = checkpoints.Checkpoints(run.checkpoints)
        # Keras numbers its layers by process; places and last names are the same in all of them.
        self._variables = {
            f"{group}/{place:04d}/{variable.name if group != 'optimizer' else 'slot'}": variable
            for group, variables in (
                ("model", model.variables),
                ("optimizer", model.optimizer.variables),
                ("metrics", model.metrics_variables),
            )
            for place, variable in enumerate(variables)
        }
        self._saved = None
        self._due = 0.0
        self._times, self._bytes = [], 0

    @property
    def step(self):
        """Updates that the model has seen."""
        return int(self._model.optimizer.iterations)

    def restore(self):
        """Sets every variable from the newest usable checkpoint, if any was ever written."""
        expected = {
            name: (tuple(variable.shape), np.dtype(variable.dtype))
            for name, variable in self._variables.items()
        }
        found = self._checkpoints.restore(expected, lambda text: print(f"warning: {text}"))
        if found is None:
            self.save()
            return
        self._saved, arrays = found
        for name, variable in self._variables.items():
            variable.assign(arrays[name])
        self._due = time.monotonic() + self._seconds
        print(f"going on from step {self._saved:,}")

    def save(self):
        """Writes a checkpoint of the present state, unless it is the one that was written last."""
        if self._saved == self.step:
            return
        started = time.monotonic()
        arrays = {name: variable.numpy() for name, variable in self._variables.items()}
        path = self._checkpoints.save(self.step, arrays)
        self._saved = self.step
        self._times.append(time.monotonic() - started)
        self._bytes = path.stat().st_size
        self._due = time.monotonic() + self._seconds

    def save_if_old(self):
        """Writes a checkpoint if the last one was long ago."""
        if time.monotonic() >= self._due:
            self.save()

    def stop(self, reason, status):
        """The `program.StopError` that says what is saved and how to go on."""
        saved = "nothing" if self._saved is None else f"step {self._saved:,}"
        return program.StopError(
            f"stopped after step {self.step:,}: {reason}. Saved: {saved}. "
            f"To go on: python -m trainers.train --resume --run={self._run.path}",
            status,
        )

    def summary(self):
        """What the checkpoints took, for the user."""
        mean = sum(self._times) / max(len(self._times), 1)
        return f"{len(self._times)} checkpoints of {self._bytes / 2**20:.1f} MiB, {mean:.2f} s each"
