"""What a study is made of: models to train and what to measure of each, found again by a hash.

A store holds `models/NAME-HASH`, a run directory a model, and in its evaluation/ one file a
measure, named by the measure's options and the model's weights. What is there is never computed
again, whichever experiment wants it; what was made with other settings has another name. Any
number of processes and machines may work on one store (`seatbelt_tf.storage.unfinished`).

What was measured may also be published, PUBLISHED/NAME-HASH/MEASURE-HASH.npz: without weights, so
small that it can be kept beside the tables, it counts as done where there is no such store. It
names the weights that it is of: where the store has others, it counts for nothing.
"""

import contextlib
import functools
import pathlib
import re
import signal
import subprocess
import sys
from typing import NamedTuple

import numpy as np

from seatbelt_tf import runs, tensors
from trainers import kept, program, splits


class Model(NamedTuple):
    """A model to train.

    Attributes:
        member: its name in tables.
        dataset: its dataset's name.
        options: flags of trainers.train other than dataset, data_dir and seed, as (name, value)s.
        seed: of the training.
        data_dir: TFDS data directory, or None.
    """

    member: str
    dataset: str
    options: tuple
    seed: int
    data_dir: str | None = None

    @property
    def key(self):
        """Name of its run directory: what tells it apart, and a hash of all settings."""
        settings = {"dataset": self.dataset, "seed": self.seed, **dict(self.options)}
        words = f"{self.dataset}-{self.member}-seed{self.seed}".lower().replace("β", "beta")
        words = re.sub(r"[^a-z0-9-]", "_", words)
        return f"{words}-{kept.digest(settings)}"

    def option(self, name, default=None):
        """The value of a flag."""
        return dict(self.options).get(name, default)

    def flags(self):
        """The flags of trainers.train that make it."""
        settings = {"dataset": self.dataset, "seed": self.seed, **dict(self.options)}
        if self.data_dir is not None:
            settings["data_dir"] = self.data_dir
        return [f"--{name}={value}" for name, value in settings.items()]


class Measure(NamedTuple):
    """Something to measure of a trained model.

    Attributes:
        name: a function's name in `trainers.studies.measures`.
        options: its keyword arguments, as (name, value)s.
    """

    name: str
    options: tuple = ()


class Cell(NamedTuple):
    """A model and all that is measured of it: one idempotent piece of work.

    Attributes:
        model: `Model`.
        measures: tuple of `Measure`.
    """

    model: Model
    measures: tuple


def merged(wanted):
    """One cell a model, with the measures of all that name it."""
    by_model = {}
    for cell in wanted:
        by_model.setdefault(cell.model, {}).update(dict.fromkeys(cell.measures))
    return [Cell(model, tuple(measures)) for model, measures in by_model.items()]


def run_of(store, model):
    """The model's `runs.Run` in a store."""
    return runs.Run(pathlib.Path(store) / "models" / model.key)


def files_of(run, measures):
    """The files of measures of a trained run: dict of `Measure` to path."""
    return {m: kept.file_of(run, m.name, dict(m.options)) for m in measures}


def published_file(published, model, measure):
    """The file of a measure of a model among the published ones."""
    name = f"{measure.name}-{kept.digest(dict(measure.options))}.npz"
    return pathlib.Path(published) / model.key / name


def missing(store, cell, published=None):
    """(whether the model is still to be trained, the measures still to be made).

    What is damaged counts as missing, here and wherever it is read; `make` renames it.
    """
    wanted = cell.measures if published is None else _unpublished(store, cell, published)
    run = run_of(store, cell.model)
    if not wanted:
        return False, ()
    if not run.model_file.exists():
        # Trained anew it may have other weights than what was measured before.
        return True, cell.measures
    files = files_of(run, wanted)
    left = (measure for measure, path in files.items() if tensors.load_whole(path) is None)
    return False, tuple(left)


def is_in_training(store, cell):
    """Whether another process is training the cell's model."""
    file = run_of(store, cell.model).model_file
    if file.exists() or not file.parent.is_dir():
        return False
    with runs.claim(file) as is_mine:
        return not is_mine


def make(store, cell):
    """Trains the cell's model and measures what is missing; safe to call again, and elsewhere.

    Args:
        store: the store's directory.
        cell: a `Cell`.

    Raises:
        RuntimeError: the training failed; the message names its log.
    """
    run = run_of(store, cell.model)
    for _ in runs.unfinished([run.model_file]):
        # A training whose parent was killed may be going on.
        with runs.claim(run.config_file, wait=True):
            pass
        if not run.model_file.exists():
            _train(run, cell.model, log_of(store, cell.model))
    _, measures = missing(store, cell)
    if not measures:
        return
    program.import_tensorflow(exact=True)
    from trainers.studies import measures as functions

    # Networks may be trained in bfloat16; an attacker computes in float32.
    model, config = run.load_model(dtype="float32"), run.config()
    if cell.model.data_dir is not None:
        config["data"]["data_dir"] = cell.model.data_dir
    splits.check_same_images(config["data"])
    by_file = {path: measure for measure, path in files_of(run, measures).items()}
    for path in by_file:
        tensors.load_whole(path, set_aside=True)
    for path in runs.unfinished(by_file):
        name, options = by_file[path]
        compute = functools.partial(functions.FUNCTIONS[name], model, run, config, **dict(options))
        kept.keep(path, compute)


def results(store, cell, published=None):
    """What was measured: dict of `Measure` to dict of arrays; without those not yet made.

    All have "seconds", what they took, and "training_seconds".
    """
    found = {} if published is None else _published(store, cell, published)
    run = run_of(store, cell.model)
    if run.model_file.exists():
        seconds = np.float64(training_seconds(run))
        for measure, path in files_of(run, cell.measures).items():
            arrays = tensors.load_whole(path)
            if arrays is not None:
                found[measure] = {**arrays, "training_seconds": seconds}
    return found


def publish(store, cell, published):
    """Adds what was measured to the published files; what is there of the same weights stays."""
    left = _unpublished(store, cell, published)
    if not left or not (run := run_of(store, cell.model)).model_file.exists():
        return
    digest = np.array(run.model_digest())
    for measure, arrays in results(store, cell._replace(measures=left)).items():
        path = published_file(published, cell.model, measure)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors.save(path, _packed({**arrays, "model_digest": digest}), compressed=True)


def _published(store, cell, published):
    """The published results that count beside a store: dict of `Measure` to dict of arrays."""
    files = {m: published_file(published, cell.model, m) for m in cell.measures}
    stored = {m: tensors.load_whole(path) for m, path in files.items()}
    found = {m: _unpacked(arrays) for m, arrays in stored.items() if arrays is not None}
    run = run_of(store, cell.model)
    if not found or not run.model_file.exists():
        return found
    own = run.model_digest()
    # The tuning that was rebuilt from its table (docs/decisions.md) names none.
    return {m: arrays for m, arrays in found.items() if arrays.get("model_digest", own) == own}


def _unpublished(store, cell, published):
    """The measures of a cell that are not among the published ones that count."""
    found = _published(store, cell, published)
    return tuple(measure for measure in cell.measures if measure not in found)


def _packed(arrays):
    """Images in 8 bits, as they are drawn, other numbers in single precision."""
    packed = {}
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.kind == "f" and array.ndim == 4:
            array = np.rint(127.5 * (np.clip(array, -1, 1) + 1)).astype(np.uint8)
        elif array.dtype.kind == "f":
            array = np.float32(array)
        packed[name] = array
    return packed


def _unpacked(arrays):
    """`_packed`'s arrays as measures return them."""
    return {
        name: np.float32(array) / 127.5 - 1 if array.dtype == np.uint8 else array
        for name, array in arrays.items()
    }


def log_of(store, model):
    """The file that the training of a model prints to."""
    return pathlib.Path(store) / "logs" / f"{model.key}.txt"


def check_none_failed(store, failed):
    """Raises `program.StopError` if there are failed cells, each said in a few words."""
    if failed:
        logs = pathlib.Path(store) / "logs"
        message = f"failed: {', '.join(failed)}: see above and {logs}"
        raise program.StopError(message, program.SOME_FAILED)


def training_seconds(run):
    """Seconds that the training of a run took, from its metrics; 0 where they are gone."""
    metrics, batch_size = run.read_metrics(), run.config()["training"]["batch_size"]
    if not metrics:
        return 0.0
    steps = np.diff([0, *metrics["step"]])
    return float(np.nansum(steps * batch_size / np.array(metrics["images_per_second"])))


def _train(run, model, log):
    log.parent.mkdir(parents=True, exist_ok=True)
    state = ["--resume"] if run.config_file.exists() else []
    command = [sys.executable, "-m", "trainers.train", f"--run={run.path}", "--noreport", *state]
    with log.open("a", encoding="utf-8") as file, _terminable():
        status = subprocess.run([*command, *model.flags()], stdout=file, stderr=file).returncode
    if status:
        raise RuntimeError(f"training of {model.key} ended with status {status}: see {log}")


@contextlib.contextmanager
def _terminable():
    """While the block runs SIGTERM is an exception, at which `subprocess.run` ends its child."""

    def stop(number, _):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
