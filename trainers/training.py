"""The training loop: a compiled function of several steps over `strategy.run`."""

import keras
import tensorflow as tf

from seatbelt_tf import checks, datasets
from trainers import program

STEPS_PER_CALL = 10
REPORTS = 60
REPORTS_A_VALIDATION = 5
REPORTS_A_CHECKPOINT = 10
VALIDATION_IMAGES = 2000
EVALUATION_BATCH = 200


def train(run, config, strategy=None):
    """Trains the run's model from its last checkpoint, or from the start, to its last step.

    Args:
        run: a `runs.Run` whose directory exists.
        config: its configuration.
        strategy: a `tf.distribute.Strategy`; the default one when None.

    Returns:
        The trained model, also saved as the run's model.keras.
    """
    options = config["training"]
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
    # By list: exactly what the model and the optimizer hold, whatever TensorFlow makes of objects.
    checkpoint = tf.train.Checkpoint(
        model=[variable.value for variable in model.variables],
        optimizer=[variable.value for variable in model.optimizer.variables],
    )
    manager = tf.train.CheckpointManager(checkpoint, run.checkpoints, max_to_keep=3)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_consumed()
    step = int(model.optimizer.iterations)
    run.truncate_metrics(step)
    _loop(run, options, config["data"], strategy, model, manager, step)
    run.save_model(model)
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


def _loop(run, options, data_config, strategy, model, manager, step):
    check_same_images(data_config)
    total, batch_size = options["steps"], options["batch_size"]
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
    train_steps = _compiled_steps(strategy, model, options["xla"])
    interval = max(total // REPORTS // STEPS_PER_CALL, 1) * STEPS_PER_CALL
    progress = program.Progress(total, step, "images")
    events = tf.summary.create_file_writer(str(run.events))
    model.reset_metrics()
    while step < total:
        count = min(STEPS_PER_CALL, total - step)
        train_steps(iterator, tf.constant(count))
        step += count
        if _is_due(step, total, interval):
            means = _results(model)
            rate = progress.update(step, batch_size, f"ELBO {means['elbo']:,.0f} nats")
            row = {"step": step, **means}
            row["learning_rate"] = float(model.optimizer.learning_rate)
            row["images_per_second"] = round(rate, 1)
            is_validated = _is_due(step, total, REPORTS_A_VALIDATION * interval)
            scores = validate(model, validation) if is_validated else dict.fromkeys(means)
            row |= {f"val_{name}": value for name, value in scores.items()}
            run.append_metrics(row)
            with events.as_default(step):
                for name, value in row.items():
                    if value is not None and name != "step":
                        tf.summary.scalar(name, value)
            events.flush()
        if _is_due(step, total, REPORTS_A_CHECKPOINT * interval):
            manager.save(step)


def _is_due(step, total, interval):
    return step % interval == 0 or step == total


def _compiled_steps(strategy, model, xla):
    def step(images):
        model.train_step((datasets.scale(images),))

    if xla:
        step = tf.function(step, jit_compile=True)

    @tf.function
    def steps(iterator, count):
        for _ in tf.range(count):
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
