"""Saves and restores everything that a training has changed."""

import time

import keras
import numpy as np

from seatbelt_tf import checkpoints
from trainers import distribution, program, terminal


class Keeper:
    """The state of a training, by name, and its checkpoints, which the chief's alone are files.

    Args:
        run: a `runs.Run`.
        model: its model, compiled, with the optimizer's variables made.
        seconds: time after which a checkpoint is due.
        strategy: the `tf.distribute.Strategy` in whose scope the model was made.
        arguments: of trainers.train, which the command that goes on has to repeat.
    """

    def __init__(self, run, model, seconds, strategy, arguments=()):
        self._run, self._model, self._seconds = run, model, seconds
        self._strategy, self._arguments = strategy, arguments
        self._is_chief = distribution.is_chief(strategy)
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
        return int(keras.ops.convert_to_numpy(self._model.optimizer.iterations))

    @property
    def is_due(self):
        """Whether the last checkpoint was long ago; only the chief's clock counts."""
        return self._is_chief and time.monotonic() >= self._due

    def restore(self):
        """Sets every variable, on every worker, from the newest usable checkpoint, if any."""
        expected = {
            name: (tuple(variable.shape), np.dtype(variable.dtype))
            for name, variable in self._variables.items()
        }
        found = None
        if self._is_chief:
            found = self._checkpoints.restore(expected, lambda text: print(f"warning: {text}"))
        step, arrays = found or (-1, {name: np.zeros(*form) for name, form in expected.items()})
        step = int(distribution.share(self._strategy, [np.int64(step)])[0])
        if step < 0:
            self.save()
            return
        self._saved = step
        values = distribution.share(self._strategy, list(arrays.values()))
        for name, value in zip(arrays, values, strict=True):
            self._variables[name].assign(value)
        self._due = time.monotonic() + self._seconds
        if self._is_chief:
            print(f"going on from step {self._saved:,}")

    def save(self):
        """Writes a checkpoint of the present state, unless it is the one that was written last.

        To be called by all workers at the same step: some of the values are sums over them.
        """
        if self._saved == self.step:
            return
        started = time.monotonic()
        arrays = {n: keras.ops.convert_to_numpy(v) for n, v in self._variables.items()}
        if self._is_chief:
            self._write(arrays, started)
        self._saved = self.step

    def _write(self, arrays, started):
        path = self._checkpoints.save(self.step, arrays)
        self._times.append(time.monotonic() - started)
        self._bytes = path.stat().st_size
        self._due = time.monotonic() + self._seconds

    def stop(self, reason, status):
        """The `program.StopError` that says what is saved and how to go on."""
        if status == program.NOT_FINITE:
            go_on = (
                "--resume would end the same way; what may help a new run: a smaller "
                "--learning_rate, no --mixed_precision, a larger --likelihood_scale"
            )
        else:
            options = f"--run={self._run.path}", "--resume", *self._arguments
            go_on = f"To go on: {terminal.command('trainers.train', *options)}"
        saved = "nothing" if self._saved is None else f"step {self._saved:,}"
        return program.StopError(
            f"stopped after step {self.step:,}: {reason}. Saved: {saved}. {go_on}", status
        )

    def stop_for_file(self, error):
        """The `program.StopError` of an error that has to do with a file."""
        return self.stop(f"a file cannot be written or read ({error})", program.CANNOT_WRITE)

    def summary(self):
        """What the checkpoints took, for the user."""
        mean = sum(self._times) / max(len(self._times), 1)
        return f"{len(self._times)} checkpoints of {self._bytes / 2**20:.1f} MiB, {mean:.2f} s each"
