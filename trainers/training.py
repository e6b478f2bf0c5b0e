"""The training loop: a compiled function of several steps over `strategy.run`."""

import math
import time

import keras
import numpy as np
import tensorflow as tf

from seatbelt_tf import checkpoints, datasets, guards
from trainers import interruption, program

STEPS_PER_CALL = 10
REPORTS = 60
REPORTS_A_VALIDATION = 5
REPORTS_A_CHECKPOINT = 10
CHECKPOINT_SECONDS = 60.0
VALIDATION_IMAGES = 2000
EVALUATION_BATCH = 200


def train(run, config, strategy=None, checkpoint_seconds=CHECKPOINT_SECONDS):
    """Trains the run's model from its last checkpoint, or from the start, to its last step.

    Args:
        run: a `runs.Run` whose directory exists.
        config: its configuration.
        strategy: a `tf.distribute.Strategy`; the default one when None.
        checkpoint_seconds: time after which a checkpoint is due; some are written in any case.

    Returns:
        The trained model, also saved as the run's model.keras.

    Raises:
        ValueError: the run was trained but none of its checkpoints can be used.
        program.StopError: it was interrupted, numbers were not finite or a file cannot be
            written; the last good state is saved, and the message says how to go on.
    """
    options = config["training"]
    run.check_resumable()
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = run.new_model()
        schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if options["warmup_steps"] else options["learning_rate"],
            decay_steps=options["steps"] - options["warmup_steps"],
            warmup_target=options["learning_rate"] if options["warmup_steps"] else None,
            warmup_steps=options["warmup_steps"],
        )
        model.compile(optimizer=keras.optimizers.Adam(schedule, beta_2=options["beta_2"]))
        model.optimizer.build(model.trainable_variables)
    warning = model.small_batch_warning(options["batch_size"])
    if warning:
        print(f"warning: {warning}")
    keeper = _Keeper(run, model, checkpoint_seconds)
    keeper.restore()
    run.truncate_metrics(keeper.step)
    try:
        _loop(run, options, config["data"], strategy, model, keeper)
        run.save_model(model)
    except OSError as error:
        raise keeper.stop(f"a file cannot be written ({error})", program.CANNOT_WRITE) from error
    print(keeper.summary())
    return model


class _Keeper:
    """The state of a training, by name, and its checkpoints."""

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


def data(config, split, **options):
    """The run's dataset: see `datasets.load`."""
    return datasets.load(
        config["name"],
        split,
        image_size=config["image_size"],
        data_dir=config["data_dir"],
        **options,
    )


def _loop(run, options, data_config, strategy, model, keeper):
    total, batch_size = options["steps"], options["batch_size"]
    step = keeper.step
    images = data(
        data_config,
        "train",
        batch_size=batch_size,
        seed=options["seed"],
        repeat=True,
        start_step=step,
        as_uint8=True,
    )
    iterator = iter(strategy.experimental_distribute_dataset(images))
    validation = data(data_config, "validation", batch_size=EVALUATION_BATCH)
    validation = validation.take(VALIDATION_IMAGES // EVALUATION_BATCH).cache()
    is_stopping = tf.Variable(False, trainable=False)
    train_steps = _compiled_steps(strategy, model, options["xla"], is_stopping)
    interval = max(total // REPORTS // STEPS_PER_CALL, 1) * STEPS_PER_CALL
    progress = program.Progress(total, step, "images")
    events = tf.summary.create_file_writer(str(run.events))
    with interruption.deferred(lambda: is_stopping.assign(True)) as pending:
        while step < total:
            count = min(STEPS_PER_CALL - step % STEPS_PER_CALL, total - step)
            _take_steps(train_steps, iterator, count, keeper)
            step = keeper.step
            if _is_due(step, total, interval):
                is_validated = _is_due(step, total, REPORTS_A_VALIDATION * interval)
                row = _report_row(model, validation if is_validated else None, keeper)
                rate = progress.update(step, batch_size, f"ELBO {row['elbo']:,.0f} nats")
                row["images_per_second"] = round(rate, 1)
                run.append_metrics({"step": step, **row})
                _write_events(events, step, row)
            if _is_due(step, total, REPORTS_A_CHECKPOINT * interval):
                keeper.save()
            keeper.save_if_old()
            if pending.signal is not None and step < total:
                keeper.save()
                name = interruption.NAMES[pending.signal]
                raise keeper.stop(name, interruption.status(pending.signal))


def _take_steps(train_steps, iterator, count, keeper):
    try:
        train_steps(iterator, tf.constant(count))
    except tf.errors.InvalidArgumentError as error:
        message = guards.message(error)
        if message is None:
            raise
        # The checks have left the model as it was before the step that they stopped.
        keeper.save()
        raise keeper.stop(message, program.NOT_FINITE) from error


def _report_row(model, validation, keeper):
    """The running means since the last report and, given images, the scores on them: a dict."""
    means = _results(model)
    scores = dict.fromkeys(means) if validation is None else validate(model, validation)
    row = {**means, "learning_rate": float(model.optimizer.learning_rate)}
    wrong = [f"{name} = {value}" for name, value in means.items() if not math.isfinite(value)]
    if wrong:
        # Only XLA comes here: it drops the checks, so that the present state is no good.
        raise keeper.stop(f"not finite: {', '.join(wrong)}", program.NOT_FINITE)
    return row | {f"val_{name}": value for name, value in scores.items()}


def _write_events(events, step, row):
    with events.as_default(step):
        for name, value in row.items():
            if value is not None:
                tf.summary.scalar(name, value)
    events.flush()


def _is_due(step, total, interval):
    return step % interval == 0 or step == total


def _compiled_steps(strategy, model, xla, is_stopping):
    def step(images):
        model.train_step((datasets.scale(images),))

    if xla:
        step = tf.function(step, jit_compile=True)

    @tf.function
    def steps(iterator, count):
        for _ in tf.range(count):
            if is_stopping:
                break
            strategy.run(step, args=(next(iterator),))

    return steps


def _results(model):
    """The running means since the last call, by name."""
    means = {name: float(value) for name, value in model.get_metrics_result().items()}
    model.reset_metrics()
    return means


def validate(model, images):
    """Mean ELBO, without penalty or free bits, and its parts over a dataset: dict of nats."""
    scores = model.evaluate(images, verbose=0, return_dict=True)
    model.reset_metrics()
    return {name: float(value) for name, value in scores.items()}
