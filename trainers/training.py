"""The training loop: a compiled function of several steps over `strategy.run`."""

import contextlib
import math
import signal

import keras
import numpy as np
import tensorflow as tf

from seatbelt_tf import SeatbeltVAE, datasets, guards
from trainers import distribution, interruption, program, splits, terminal
from trainers.keeper import Keeper
from trainers.reporter import Reporter

STEPS_PER_CALL = 10
REPORTS = 60
REPORTS_A_VALIDATION = 5
REPORTS_A_CHECKPOINT = 10
CHECKPOINT_SECONDS = 60.0
VALIDATION_IMAGES = 2000
ADAPTATION_IMAGES = 10_000


def train(
    run,
    config,
    strategy=None,
    cluster=None,
    *,
    accumulate=1,
    checkpoint_seconds=CHECKPOINT_SECONDS,
    arguments=(),
):
    """Trains the run's model from its last checkpoint, or from the start, to its last step.

    With several workers each of them calls this; the chief alone reads and writes files.

    Args:
        run: a `runs.Run` whose directory exists.
        config: its configuration.
        strategy: a `tf.distribute.Strategy`; the default one when None.
        cluster: the `cluster.Cluster` of a strategy with several workers.
        accumulate: parts in which a batch's convolutions are computed (`micro_batches`).
        checkpoint_seconds: time after which a checkpoint is due; some are written in any case.
        arguments: of trainers.train, which the command that goes on has to repeat.

    Returns:
        The trained model, outside the strategy, also saved as the run's model.keras.

    Raises:
        ValueError: the run was trained but none of its checkpoints can be used.
        program.StopError: it was interrupted, numbers were not finite, a file cannot be written
            or read, or a worker was lost; the last good state is saved, and the message says what
            to do.
        BrokenPipeError: nobody reads what it prints.
    """
    options = config["training"]
    strategy = strategy or tf.distribute.get_strategy()
    is_chief = distribution.is_chief(strategy)
    if is_chief:
        run.check_resumable()
    with strategy.scope():
        model = SeatbeltVAE(**config["model"])
        model.accumulate = accumulate
        schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if options["warmup_steps"] else options["learning_rate"],
            decay_steps=options["steps"] - options["warmup_steps"],
            warmup_target=options["learning_rate"] if options["warmup_steps"] else None,
            warmup_steps=options["warmup_steps"],
        )
        model.compile(optimizer=keras.optimizers.Adam(schedule, beta_2=options["beta_2"]))
        model.optimizer.build(model.trainable_variables)
    plain = model
    if not distribution.is_default(strategy):
        plain = SeatbeltVAE(**config["model"])
        plain.compile()
    warning = model.small_batch_warning(options["batch_size"])
    if warning and is_chief:
        print(f"warning: {warning}")
    keeper = Keeper(run, model, checkpoint_seconds, strategy, arguments)
    try:
        keeper.restore()
        is_finished = is_chief and keeper.step == options["steps"] and _is_kept(run)
        if not model.is_adapted():
            # Principal components take more images than there are units.
            count = max(ADAPTATION_IMAGES, model.latent_dims[0] + 1)
            model.adapt(_some_images(config["data"], count))
        if is_chief:
            run.truncate_metrics(keeper.step)
        _loop(run, config, strategy, model, plain, keeper)
        distribution.copy(model, plain)
        if is_chief and not is_finished:
            run.save_model(plain)
    except OSError as error:
        if program.is_unread(error):
            # Its row was not kept: the step is taken again.
            raise
        raise keeper.stop_for_file(error) from error
    except FloatingPointError as error:
        raise keeper.stop(str(error), program.NOT_FINITE) from error
    except tf.errors.OpError as error:
        if program.full_disk(error):
            raise keeper.stop_for_file(program.full_disk(error)) from error
        if program.is_out_of_memory(error):
            reason = "not enough memory: a smaller --batch_size, or --accumulate=K, needs less"
            raise keeper.stop(reason, program.NO_MEMORY) from error
        if cluster is None:
            raise
        raise keeper.stop(distribution.lost(cluster, error), program.WORKER_LOST) from error
    if is_chief and not is_finished:
        print(keeper.summary())
    return plain


def _is_kept(run):
    """Whether model.keras is there, whole. Then the same model is not written again: it would be
    another file, and what was found of it lost."""
    try:
        run.load_model()
    except ValueError:
        return False
    return True


def _some_images(config, count):
    """At least `count` training images, or all, the same every time: (N, H, W, C)."""
    batches = splits.batches(
        config, "train", batch_size=splits.BATCH, shuffle=True, seed=0, drop_remainder=False
    )
    return _held(batches.take(-(-count // splits.BATCH)))


def _loop(run, config, strategy, model, plain, keeper):
    splits.check_same_images(config["data"])
    options = config["training"]
    total, batch_size = options["steps"], options["batch_size"]
    step = keeper.step

    def images(part):
        return splits.batches(
            config["data"],
            "train",
            batch_size=batch_size,
            seed=options["seed"],
            repeat=True,
            start_step=step,
            as_uint8=True,
            part=part,
        )

    if distribution.is_chief(strategy):
        terminal.say(f"reading {config['data']['name']} and compiling the training step")
    iterator = distribution.batches(strategy, images, batch_size)
    is_stopping = tf.Variable(0.0, trainable=False)
    train_steps = _compiled_steps(strategy, model, options["xla"], is_stopping)
    interval = max(total // REPORTS // STEPS_PER_CALL, 1) * STEPS_PER_CALL
    reporter = None
    if distribution.is_chief(strategy):
        reporter = Reporter(run, config, step)
        batches = splits.batches(config["data"], "validation", batch_size=splits.BATCH)
        held = _held(batches.take(VALIDATION_IMAGES // splits.BATCH))
        validation = tf.data.Dataset.from_tensor_slices(held).batch(splits.BATCH)
    with interruption.deferred(lambda: is_stopping.assign(1.0)) as pending:
        while step < total:
            count = min(STEPS_PER_CALL - step % STEPS_PER_CALL, total - step)
            before = step
            is_stopped, is_due = _take_steps(train_steps, iterator, count, keeper)
            step = keeper.step
            # Stopped between two calls, the second takes no step and has nothing to report.
            if step > before and _is_due(step, total, interval):
                means = _running_means(model, keeper)
                if reporter is not None:
                    is_validated = _is_due(step, total, REPORTS_A_VALIDATION * interval)
                    distribution.copy(model, plain)
                    row = _report_row(model, plain, means, validation if is_validated else None)
                    reporter.report(step, row)
                    if is_validated:
                        reporter.show(step, plain, held[: splits.BATCH])
            elif reporter is not None:
                reporter.tick(step)
            if is_due or _is_due(step, total, REPORTS_A_CHECKPOINT * interval):
                keeper.save()
            if step == total and not is_stopped:
                # Nobody looked while the last step was reported and saved; all workers must agree.
                is_stopped, _ = _take_steps(train_steps, iterator, 0, keeper)
            if is_stopped:
                keeper.save()
                number = pending.signal or signal.SIGTERM
                name = interruption.NAMES[number]
                raise keeper.stop(name, interruption.status(number))


def _take_steps(train_steps, iterator, count, keeper):
    """Whether training is to stop, and whether a checkpoint is due: on every worker the same."""
    try:
        is_due = tf.constant(float(keeper.is_due))
        is_stopped, is_due = train_steps(iterator, tf.constant(count), is_due)
        return bool(is_stopped), bool(is_due)
    except tf.errors.InvalidArgumentError as error:
        message = guards.message(error)
        if message is None:
            raise
        # The checks have left the model as it was before the step that they stopped; the step
        # before it may have spoilt the weights, which are not written then.
        with contextlib.suppress(FloatingPointError):
            keeper.save()
        raise keeper.stop(message, program.NOT_FINITE) from error


def _running_means(model, keeper):
    """The means since the last call, by name; all workers must ask at the same step."""
    means = {
        name: float(keras.ops.convert_to_numpy(value))
        for name, value in model.get_metrics_result().items()
    }
    model.reset_metrics()
    wrong = [f"{name} = {value}" for name, value in means.items() if not math.isfinite(value)]
    if wrong:
        # Only XLA comes here: it drops the checks, so that the present state is no good.
        raise keeper.stop(f"not finite: {', '.join(wrong)}", program.NOT_FINITE)
    return means


def _report_row(model, plain, means, validation):
    """What is reported of a step: means and, given images, the scores on them."""
    scores = dict.fromkeys(means) if validation is None else validate(plain, validation)
    rate = keras.ops.convert_to_numpy(model.optimizer.learning_rate)
    row = {**means, "learning_rate": float(rate)}
    return row | {f"val_{name}": value for name, value in scores.items()}


def _is_due(step, total, interval):
    return step % interval == 0 or step == total


def _compiled_steps(strategy, model, xla, is_stopping):
    def step(images):
        model.train_step((datasets.scale(images),))

    if xla:
        step = tf.function(step, jit_compile=True)

    @tf.function
    def steps(iterator, count, is_due):
        """Whether any worker is stopping (before or after `count` steps), whether any one's
        checkpoint is due: the same answers, and as many steps, on all of them."""
        for _ in tf.range(count):
            if distribution.total(strategy, is_stopping) > 0:
                break
            strategy.run(step, args=(next(iterator),))
        return (
            distribution.total(strategy, is_stopping) > 0,
            distribution.total(strategy, is_due) > 0,
        )

    return steps


def _held(batches):
    """All images of batches in memory. (Dataset.cache() warns when only its start is looked at.)"""
    return np.concatenate(list(batches.as_numpy_iterator()))


def validate(model, images, report=None):
    """Mean ELBO, without penalty or free bits, and its parts over a dataset: dict of nats.

    Args:
        model: a compiled `SeatbeltVAE`.
        images: a dataset of batches.
        report: called with the number of batches that are done, if given.
    """
    callbacks = []
    if report is not None:
        done = keras.callbacks.LambdaCallback(on_test_batch_end=lambda last, **_: report(last + 1))
        callbacks.append(done)
    scores = model.evaluate(images, verbose=0, return_dict=True, callbacks=callbacks)
    model.reset_metrics()
    return {name: float(value) for name, value in scores.items()}
