"""What a run directory contains, and how it is read and written. No TensorFlow until it is needed.

    config.json     everything needed to rebuild the model and repeat the run
    checkpoints/    the state of training, by tf.train.CheckpointManager
    model.keras     the trained model
    metrics.csv     one row a reporting interval
    events/         the same for TensorBoard
    attacks/, evaluation/, figures/

Files are written aside and renamed, so that none is ever seen half written.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import pathlib
import shutil
import tempfile

from seatbelt_tf import checks

FORMAT = 1
CONTENTS = (
    "config.json",
    "checkpoints",
    "model.keras",
    "metrics.csv",
    "events",
    "attacks",
    "evaluation",
    "figures",
)


class Run:
    """A run directory by path; its files as attributes.

    Args:
        path: the directory.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.config_file, self.checkpoints, self.model_file, self.metrics_file = (
            self.path / name for name in CONTENTS[:4]
        )
        self.events, self.attacks, self.evaluation, self.figures = (
            self.path / name for name in CONTENTS[4:]
        )

    def check_new(self, overwrite=False):
        """Raises ValueError unless a new run can be started here; touches nothing.

        Args:
            overwrite: whether an earlier run here may be replaced.
        """
        if self.config_file.exists() and not overwrite:
            raise checks.invalid(
                "run",
                "a new directory (--resume continues this one, --overwrite replaces it)",
                repr(str(self.path)),
            )
        occupied = self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))
        if occupied and not self.config_file.exists():
            raise checks.invalid(
                "run", "a directory that is new, empty or holds a run", repr(str(self.path))
            )
        parent = next(
            p for p in (self.path.absolute(), *self.path.absolute().parents) if p.exists()
        )
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise checks.invalid(
                "run", f"a place that can be written to ({parent} cannot)", repr(str(self.path))
            )

    def create(self, config, overwrite=False):
        """Starts a new run, replacing an earlier one's files if told to.

        Args:
            config: JSON-compatible dict.
            overwrite: see `check_new`.

        Raises:
            ValueError: see `check_new`.
        """
        self.check_new(overwrite)
        for name in CONTENTS:
            old = self.path / name
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.config_file, {"format": FORMAT, **config})
        except OSError as error:
            raise checks.invalid(
                "run", f"a place that can be written to ({error})", repr(str(self.path))
            ) from error

    def config(self):
        """The run's configuration, a dict.

        Raises:
            ValueError: no run here, or its config.json is damaged or of another format.
        """
        if not self.config_file.is_file():
            raise checks.invalid(
                "run", "a directory made by trainers.train (no config.json)", repr(str(self.path))
            )
        try:
            config = json.loads(self.config_file.read_text(encoding="utf-8"))
            if config["format"] != FORMAT:
                raise KeyError(f"format {config['format']}")
        except (ValueError, KeyError, TypeError) as error:
            raise checks.invalid(
                "run", f"a readable config.json of format {FORMAT} ({error})", repr(str(self.path))
            ) from error
        return config

    def new_model(self):
        """A model of the run's configuration with initial weights."""
        from seatbelt_tf.model import SeatbeltVAE

        return SeatbeltVAE(**self.config()["model"])

    def check_trained(self):
        """Raises ValueError unless there is a run here whose training has ended."""
        self.config()
        if not self.model_file.is_file():
            raise checks.invalid(
                "run",
                "a trained model (no model.keras: continue with trainers.train --resume)",
                repr(str(self.path)),
            )

    def model_digest(self):
        """A short hash of model.keras, which tells results of different trainings apart."""
        with self.model_file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]

    def load_model(self):
        """The trained model.

        Raises:
            ValueError: no run here, or its training has not ended.
        """
        self.check_trained()
        import keras

        return keras.models.load_model(self.model_file)

    def save_model(self, model):
        """Writes model.keras, aside and renamed."""
        with replacing(self.model_file) as path:
            model.save(path)

    def append_metrics(self, row):
        """Adds a row to metrics.csv.

        Args:
            row: dict of column name to number or None; the first row's columns are the file's.
        """
        text = io.StringIO()
        columns = list(self.read_metrics()) or list(row)
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        if not self.metrics_file.exists():
            writer.writeheader()
        writer.writerow(row)
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(text.getvalue())

    def read_metrics(self):
        """metrics.csv as a dict of column name to list of floats (NaN where empty)."""
        if not self.metrics_file.exists():
            return {}
        with self.metrics_file.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if None not in row.values()]
        return (
            {name: [float(row[name] or "nan") for row in rows] for name in rows[0]} if rows else {}
        )

    def truncate_metrics(self, step):
        """Drops the rows after a step, and a last one that was half written."""
        table = self.read_metrics()
        if not table:
            self.metrics_file.unlink(missing_ok=True)
            return
        with replacing(self.metrics_file) as path, path.open("w", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(table)
            for row in zip(*table.values(), strict=True):
                if row[0] <= step:
                    writer.writerow([_cell(value) for value in row])


def _cell(value):
    if value != value:
        return ""
    return int(value) if value == int(value) else value


@contextlib.contextmanager
def replacing(path):
    """A temporary path beside `path` that takes its place if the block succeeds."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
        yield temporary
        # mkstemp makes files that only their owner can read.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, value):
    """Writes JSON-compatible data, aside and renamed; NaN is refused."""
    with replacing(path) as temporary:
        text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
