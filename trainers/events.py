"""What TensorBoard shows of a run: `tensorboard --logdir=runs` compares all that are there.

SCALARS      the columns of metrics.csv, and test/… at the end
IMAGES       reconstructions and traversals at each validation, the figures at the end
HISTOGRAMS   stddev_norm/layer_i: ‖σ_i(x)‖₂ of validation images (figure 2 of the paper)
HPARAMS      the dataset and every setting of the model and the training, a row a run

After trainers.attack or trainers.evaluate, at the training's last step:

SCALARS      robustness/OBJECTIVE/…: `MEASURES` and how many checks fired, which HPARAMS has, too
IMAGES       robustness/OBJECTIVE/panel
"""

import contextlib

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import summary_v2 as hparams

from seatbelt_tf import evaluation
from seatbelt_tf.figures import canvas
from trainers import battery_flags

SHOWN = 8
MEASURED = 200
UNITS = 6
PLACES = (-2, -1, 0, 1, 2)
# What compares models, of a battery's summary.
MEASURES = ("area_above_blending", "norm_to_half", "closed_share")


class Events:
    """Writes a run's events; resumed, it goes on in a file of its own.

    Args:
        directory: of the event files.
    """

    def __init__(self, directory):
        self._writer = tf.summary.create_file_writer(str(directory))

    def settings(self, config):
        """The hyperparameters, by which TensorBoard's HPARAMS page compares runs.

        Args:
            config: the run's configuration.
        """
        with self._writer.as_default(0):
            hparams.hparams(flatten(config))
        self._writer.flush()

    def scalars(self, step, row):
        """Numbers of a step: dict of name to number, or None for one that is not known."""
        with self._writer.as_default(step):
            for name, value in row.items():
                if value is not None:
                    tf.summary.scalar(name, value)
        self._writer.flush()

    def views(self, step, model, images):
        """What the model makes of images at a step.

        Args:
            step: training steps so far.
            model: a `SeatbeltVAE`.
            images: (M, H, W, C) in [-1, 1].
        """
        images = images[:MEASURED]
        pairs = np.stack([images[:SHOWN], model(images[:SHOWN]).numpy()])
        norms = evaluation.stddev_norms(model, images)
        with self._writer.as_default(step):
            note = "Validation images, and below each its reconstruction."
            tf.summary.image("reconstructions", _sheet(pairs), description=note)
            # How far a unit goes is not told by a single image.
            if len(images) > 1:
                traversals, names = evaluation.traverse(model, images, UNITS, PLACES)
                note = f"One unit a row, from {PLACES[0]} to {PLACES[-1]} standard deviations."
                tf.summary.image("traversals", _sheet(traversals), description=note)
                tf.summary.text("traversed units", ", ".join(names))
            for layer, values in enumerate(norms, 1):
                tf.summary.histogram(f"stddev_norm/layer_{layer}", values)
        self._writer.flush()


def write_test(run, config, scores, paths):
    """What a training ended with, in place of what it ended with before.

    Args:
        run: a `runs.Run`.
        config: its configuration.
        scores: dict of name to number, on test images.
        paths: of figures' PNG files, shown under their names.
    """
    with _in_place(run, config, "test"):
        for name, value in scores.items():
            tf.summary.scalar(f"test/{name}", value)
        for path in paths:
            tf.summary.image(f"figures/{path.stem}", _drawn(path))


def write_battery(run, config, battery, summary, diagnoses, panel):
    """What a battery found, in place of an earlier one with the same objective, layers, ancestors.

    Args:
        run: a `runs.Run`.
        config: its configuration.
        battery: an `attacks.battery.Battery`, solved.
        summary: see `batteries.summarise`.
        diagnoses: list of `Diagnosis`.
        panel: PNG file of `batteries.battery_panel`.
    """
    name = _kind(battery.options, config)
    fired = [diagnosis.name for diagnosis in diagnoses if diagnosis.fired]
    note = (
        f"{len(battery.images)} pairs × {len(battery.weights)} λ. "
        f"Checks that fired: {', '.join(fired) or 'none'}."
    )
    with _in_place(run, config, f"attack_{name}"):
        for measure in MEASURES:
            # Left out where no pair has it.
            if measure in summary:
                tf.summary.scalar(f"robustness/{name}/{measure}", summary[measure]["mean"])
        tf.summary.scalar(f"robustness/{name}/checks_fired", len(fired))
        tf.summary.image(f"robustness/{name}/panel", _drawn(panel), description=note)


@contextlib.contextmanager
def _in_place(run, config, name):
    """A file beside the training's for what the block writes; those of that name are removed."""
    suffix = f".{name}.v2"
    earlier = [path for path in run.events.glob("*") if path.name.endswith(suffix)]
    writer = tf.summary.create_file_writer(str(run.events), filename_suffix=suffix)
    with writer.as_default(config.get("training", {}).get("steps", 0)):
        yield
    writer.close()
    for path in earlier:
        path.unlink(missing_ok=True)


def _kind(options, config):
    """What batteries that compare runs have in common: the objective, and what is unusual."""
    layers, ancestors = options["layers"], options["ancestors"]
    words = [options["objective"]]
    if layers != "all":
        words.append(layers if isinstance(layers, str) else "_".join(map(str, layers)))
    if ancestors != battery_flags.usual_ancestors(config):
        words.append(ancestors)
    return "-".join(words)


def flatten(config):
    """The settings of a configuration as one flat dict of numbers, booleans and texts.

    The parts "model", "data" and "training" are taken; what is nested below them has a name with a
    slash, what is None or empty is left out, and lists are texts, as on the command line.
    """
    settings = {}

    def add(name, value):
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{name}/{key}", inner)
        elif isinstance(value, list):
            settings[name] = ",".join(map(str, value))
        elif value is not None:
            settings[name] = value

    for name, value in {**config["training"], **config["model"]}.items():
        add(name, value)
    add("dataset", config["data"]["name"])
    return settings


def _drawn(path):
    """The pixels of a PNG file: uint8 (1, H, W, 3)."""
    return tf.io.decode_png(path.read_bytes(), channels=3)[None]


def _sheet(images):
    """(R, K, H, W, C) images in [-1, 1] -> uint8 (1, R H, K W, C), a row a row."""
    rows, columns, height, width, channels = images.shape
    pixels = canvas.levels(images).transpose(0, 2, 1, 3, 4)
    return pixels.reshape(1, rows * height, columns * width, channels)
