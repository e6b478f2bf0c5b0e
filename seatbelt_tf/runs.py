"""What a run directory contains, and how it is read and written. No TensorFlow until it is needed.

    config.json     everything needed to rebuild the model and repeat the run
    checkpoints/    the state of training: see `seatbelt_tf.checkpoints`
    model.keras     the trained model
    metrics.csv     one row a reporting interval
    events/         the same for TensorBoard
    attacks/, evaluation/, figures/

Files are written aside and renamed, so that none is ever seen half written. A run may come from
elsewhere: nothing that its files say is executed (docs/SECURITY.md).
"""

import contextlib
import csv
import functools
import hashlib
import io
import math
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from seatbelt_tf import checkpoints, checks, configuration
from seatbelt_tf.storage import (
    check_links,
    check_place,
    claim,
    holder,
    read_json,
    replacing,
    unfinished,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from seatbelt_tf.model import SeatbeltVAE

__all__ = ["Run", "claim", "read_json", "replacing", "unfinished", "write_json", "write_text"]

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

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = pathlib.Path(path)
        self._loaded: str | None = None
        self.config_file, self.checkpoints, self.model_file, self.metrics_file = (
            self.path / name for name in CONTENTS[:4]
        )
        self.events, self.attacks, self.evaluation, self.figures = (
            self.path / name for name in CONTENTS[4:]
        )

    def check_new(self, overwrite: bool = False) -> None:
        """Raises ValueError unless a new run can be started here; touches nothing.

        Args:
            overwrite: whether an earlier run here may be replaced.
        """
        holds_run = self._is_there()
        if holds_run and not overwrite:
            there = "this run is finished" if self.model_file.exists() else "--resume continues it"
            raise checks.invalid(
                "run", f"a new directory ({there}, --overwrite replaces it)", repr(str(self.path))
            )
        check_place("run", self.path)
        found = self.path.iterdir() if self.path.is_dir() else ()
        if any(path.suffix != ".lock" for path in found) and not holds_run:
            raise checks.invalid(
                "run", "a directory that is new, empty or holds a run", repr(str(self.path))
            )

    def _is_there(self):
        """Whether config.json is a run's: others have files of that name, too."""
        # Those of `pathlib` raise where there is no permission to look, or a name is too long.
        if not os.path.exists(self.config_file):
            return False
        try:
            config = read_json(self.config_file)
        except (OSError, ValueError):
            # A damaged one is told by what lies beside it.
            has_checkpoints = bool(checkpoints.Checkpoints(self.checkpoints).paths())
            return has_checkpoints or self.model_file.exists()
        return isinstance(config, dict) and {"format", "model"} <= config.keys()

    def create(self, config: Mapping[str, Any], overwrite: bool = False) -> None:
        """Starts a new run, replacing an earlier one's files if told to.

        Args:
            config: JSON-compatible dict.
            overwrite: see `check_new`.

        Raises:
            ValueError: see `check_new`.
        """
        self.check_new(overwrite)
        # config.json is replaced in the end: who is killed before leaves what is still a run.
        for name in CONTENTS[1:]:
            old = self.path / name
            if old.is_dir() and not old.is_symlink():
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

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The run for this process alone while the block runs.

        Raises:
            ValueError: another process holds it.
        """
        with claim(self.config_file) as is_mine:
            if not is_mine:
                raise checks.invalid(
                    "run",
                    f"a run that nobody else is writing ({holder(self.config_file)} is)",
                    repr(str(self.path)),
                )
            yield

    def config(self) -> dict[str, Any]:
        """The run's configuration, a dict.

        Raises:
            ValueError: no run here, its config.json is damaged, of another format or has unknown
                fields, or a link leads out of the directory.
        """
        if not os.path.isfile(self.config_file):
            raise checks.invalid(
                "run", "a directory made by trainers.train (no config.json)", repr(str(self.path))
            )
        check_links(self.path)
        try:
            config = read_json(self.config_file)
            if not isinstance(config, dict) or config.get("format") != FORMAT:
                raise ValueError("no such format is named")
            configuration.check(config)
        except (OSError, ValueError) as error:
            raise checks.invalid(
                "run", f"a readable config.json of format {FORMAT} ({error})", repr(str(self.path))
            ) from error
        return config

    def new_model(self, **options: Any) -> "SeatbeltVAE":
        """A model of the run's configuration with initial weights; `options` go before it."""
        options = {**self.config()["model"], **options}
        from seatbelt_tf.model import SeatbeltVAE

        return SeatbeltVAE(**options)

    def check_resumable(self) -> bool:
        """Whether there are checkpoints; ValueError if training had begun and there are none."""
        has_checkpoints = bool(checkpoints.Checkpoints(self.checkpoints).paths())
        has_begun = any(path.exists() for path in (self.metrics_file, self.events, self.model_file))
        if has_begun and not has_checkpoints:
            raise checkpoints.lost(self.checkpoints)
        return has_checkpoints

    def check_trained(self) -> None:
        """Raises ValueError unless there is a run here whose training has ended."""
        self.config()
        if not self.model_file.is_file():
            raise checks.invalid(
                "run",
                "a trained model (no model.keras: continue with trainers.train --resume "
                f"--run={self.path})",
                repr(str(self.path)),
            )

    def model_digest(self) -> str:
        """A short hash of model.keras, which tells results of different trainings apart.

        Raises:
            ValueError: another training has replaced the model that `load_model` gave.
        """
        status = self.model_file.stat()
        digest = _digest(self.model_file, status.st_ino, status.st_mtime_ns, status.st_size)
        if self._loaded not in (None, digest):
            raise checks.invalid(
                "run", "the model that was loaded (it was replaced meanwhile)", repr(str(self.path))
            )
        return digest

    def load_model(self, **options: Any) -> "SeatbeltVAE":
        """The trained model: built from config.json, with tensors by name, shape and dtype.

        Args:
            options: of `SeatbeltVAE`, in place of the configuration's; dtype="float32" computes in
                float32 what was trained in mixed precision.

        Raises:
            ValueError: no run here, its training has not ended, or model.keras is damaged, holds
                another model's weights, or was replaced while it was read.
        """
        self.check_trained()
        from seatbelt_tf import weights

        self._loaded = None
        model, self._loaded = self.new_model(**options), self.model_digest()
        weights.load(model, self.model_file)
        self.model_digest()
        model.compile()
        return model

    def save_model(self, model: "SeatbeltVAE") -> None:
        """Writes model.keras, aside and renamed."""
        self._loaded = None
        with replacing(self.model_file) as path:
            model.save(path)

    def append_metrics(self, row: Mapping[str, float | None]) -> None:
        """Adds a row to metrics.csv.

        Args:
            row: dict of column name to number or None; the first row's columns are the file's.
        """
        columns = list(self.read_metrics()) or list(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        if self.metrics_file.exists():
            text.write(self.metrics_file.read_text(encoding="utf-8"))
        else:
            writer.writeheader()
        writer.writerow(row)
        write_text(self.metrics_file, text.getvalue())

    def read_metrics(self) -> dict[str, list[float]]:
        """metrics.csv as a dict of column name to list of floats (NaN where empty).

        Raises:
            ValueError: it holds something else.
        """
        if not self.metrics_file.exists():
            return {}
        try:
            with self.metrics_file.open(encoding="utf-8", newline="") as file:
                rows = [row for row in csv.DictReader(file) if None not in (*row, *row.values())]
            names = list(rows[0]) if rows else []
            return {name: [float(row[name] or "nan") for row in rows] for name in names}
        except (ValueError, TypeError, KeyError, csv.Error) as error:
            raise checks.invalid("metrics.csv", "numbers in columns", f"{error}") from error

    def truncate_metrics(self, step: int) -> None:
        """Drops the rows after a step, and a last one that is incomplete."""
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


@functools.lru_cache
def _digest(path, *_identity):
    """Of a file that is replaced when it changes: hashing a model takes a while."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _cell(value):
    if value != value:
        return ""
    return int(value) if math.isfinite(value) and value == int(value) else value
