"""The training loop: a compiled function of several steps over `strategy.run`."""

import contextlib
import math

import keras
import numpy as np
import tensorflow as tf

from seatbelt_tf import checks, datasets, guards
from trainers import interruption, program
from trainers.keeper import Keeper

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
    keeper = Keeper(run, model, checkpoint_seconds)
    keeper.restore()
    run.truncate_metrics(keeper.step)
    try:
        _loop(run, options, config["data"], strategy, model, keeper)
        run.save_model(model)
    except OSError as error:
        raise keeper.stop(f"a file cannot be written ({error})", program.CANNOT_WRITE) from error
    except FloatingPointError as error:
        raise keeper.stop(str(error), program.NOT_FINITE) from error
    print(keeper.summary())
    return model


def data(config, split, **options):
    """The run's dataset: see `datasets.load`.

    Raises:
        ValueError: as `datasets.load`, or its images would be preprocessed otherwise than when the
            run was started.
    """
    place = {
        "image_size": config["image_size"],
        "data_dir": config["data_dir"],
        "max_unreadable": config.get("max_unreadable", 0),
    }
    recipe = datasets.recipe(config["name"], **place)
    if config.get("preprocessing", recipe) != recipe:
        raise checks.invalid(
            "preprocessing", f"{recipe}, as this version has it", config["preprocessing"]
        )
    return datasets.load(config["name"], split, **place, **options)


def pairs(config, count, seed=0):
    """Images and targets from the test split, chosen by the seed, none twice: two (P, H, W, C)."""
    batches = data(
        config, "test", batch_size=2 * count, shuffle=True, seed=seed, drop_remainder=True
    )
    return tuple(np.split(next(iter(batches)).numpy(), 2))


def info(config):
    """What is known of the run's dataset: see `datasets.info`."""
    return datasets.info(
        config["name"], config["data_dir"], max_unreadable=config.get("max_unreadable", 0)
    )


def check_same_images(config):
    """Raises ValueError when the dataset's images are not those the run was started with."""
    found = info(config)
    if config.get("fingerprint", found.fingerprint) != found.fingerprint:
        raise checks.invalid(
            "dataset",
            f"the images the run was started with (fingerprint {config['fingerprint']})",
            f"{found.name!r} with fingerprint {found.fingerprint}",
        )


def _loop(run, options, data_config, strategy, model, keeper):
    check_same_images(data_config)
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
    validation = _held(validation.take(VALIDATION_IMAGES // EVALUATION_BATCH))
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
        # The checks have left the model as it was before the step that they stopped; the step
        # before it may have spoilt the weights, which are not written then.
        with contextlib.suppress(FloatingPointError):
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


def _held(images):
    """The same batches out of memory. (Dataset.cache() warns when only its start is looked at.)"""
    everything = np.concatenate(list(images.as_numpy_iterator()))
    return tf.data.Dataset.from_tensor_slices(everything).batch(EVALUATION_BATCH)


def validate(model, images):
    """Mean ELBO, without penalty or free bits, and its parts over a dataset: dict of nats."""
    scores = model.evaluate(images, verbose=0, return_dict=True)
    model.reset_metrics()
    return {name: float(value) for name, value in scores.items()}
