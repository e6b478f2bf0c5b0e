"""What is shown and kept of a training while it goes on: a line, a row of metrics.csv, events."""

import tensorflow as tf

from trainers import program


class Reporter:
    """Reports a training's progress; only one process of a training has one.

    Args:
        run: a `runs.Run`.
        total: number of steps in all.
        batch_size: images a step.
        step: how many steps are done at the start.
    """

    def __init__(self, run, total, batch_size, step):
        self._run, self._batch_size = run, batch_size
        self._progress = program.Progress(total, step, "images")
        self._events = tf.summary.create_file_writer(str(run.events))

    def report(self, step, row):
        """Shows and keeps a row: dict of column to number or None."""
        rate = self._progress.update(step, self._batch_size, f"ELBO {row['elbo']:,.0f} nats")
        row = {**row, "images_per_second": round(rate, 1)}
        self._run.append_metrics({"step": step, **row})
        with self._events.as_default(step):
            for name, value in row.items():
                if value is not None:
                    tf.summary.scalar(name, value)
        self._events.flush()
