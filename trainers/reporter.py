"""What is shown and kept of a training while it goes on: a line, a row of metrics.csv, events."""

from trainers import terminal
from trainers.events import Events


class Reporter:
    """Reports a training's progress; only one process of a training has one.

    Args:
        run: a `runs.Run`.
        config: its configuration.
        step: how many steps are done at the start.
    """

    def __init__(self, run, config, step):
        options = config["training"]
        self._run, self._batch_size = run, options["batch_size"]
        self._progress = terminal.Progress(options["steps"], step, "images")
        self._events = Events(run.events)
        self._events.settings(config)

    def report(self, step, row):
        """Shows and keeps a row: dict of column to number or None."""
        rate = self._progress.update(step, self._batch_size, f"ELBO {row['elbo']:,.0f} nats")
        row = {**row, "images_per_second": round(rate, 1)}
        self._run.append_metrics({"step": step, **row})
        self._events.scalars(step, row)

    def tick(self, step):
        """Shows that a training goes on, between two reports."""
        self._progress.tick(step, self._batch_size)

    def show(self, step, model, images):
        """Keeps views of a model for TensorBoard: see `Events.views`."""
        self._events.views(step, model, images)
