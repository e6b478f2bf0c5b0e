"""A study under way: its cells, what was found, and the tables and figures made of it."""

import csv
import math
import pathlib
from typing import NamedTuple

import numpy as np

from seatbelt_tf import figures, runs
from seatbelt_tf.evaluation import intervals
from trainers.studies import cells, tables


class Report(NamedTuple):
    """What an experiment leaves.

    Attributes:
        tables: dict of name to list of rows, each a dict of column to text or number.
        figures: dict of name to matplotlib Figure, or None where there is nothing to draw.
        paper: what the paper shows, in a line; "" where it shows none. What it lists is
            separated by "; ".
        ours: what was found here, in the same way; numbers are means.
    """

    tables: dict
    figures: dict
    paper: str = ""
    ours: str = ""


class Findings:
    """The results of cells by model and measure.

    Args:
        store: the store's directory.
        wanted: list of `cells.Cell`.
        published: the folder of what was published, or None.

    Attributes:
        store: see above.
        seconds: time that the finished work took, trainings and measures; reports that make
            something themselves add to it.
        unfinished: number of cells of which something is missing.
    """

    def __init__(self, store, wanted, published=None):
        self.store = pathlib.Path(store)
        self.seconds, self.unfinished, self._found = 0.0, 0, {}
        for cell in wanted:
            found = cells.results(store, cell, published)
            self._found.setdefault(cell.model, {}).update(found)
            self.unfinished += len(found) < len(cell.measures)
            if found:
                self.seconds += max(float(arrays["training_seconds"]) for arrays in found.values())
                self.seconds += sum(float(arrays["seconds"]) for arrays in found.values())

    @property
    def is_empty(self):
        """Whether nothing was found."""
        return not any(self._found.values())

    def of(self, model, measure):
        """The arrays of one measure, or None where it is not finished."""
        return self._found.get(model, {}).get(measure)

    def finished(self, models, measure):
        """The arrays of one measure of those models that have it, in their order: a list."""
        found = (self.of(model, measure) for model in models)
        return [arrays for arrays in found if arrays is not None]

    def over_seeds(self, models, measure, name):
        """(S, P) values of a measure by seed and pair, of the finished models; None without any."""
        rows = [arrays[name] for arrays in self.finished(models, measure)]
        return np.stack(rows) if rows else None

    def both(self, first, second):
        """The arrays of two results, seed by seed, where both are finished: list of pairs.

        Args:
            first, second: (models, measure) each, as many models in the same order of seeds.
        """
        found = (
            [self.of(model, measure) for model in models] for models, measure in (first, second)
        )
        return [
            (one, other)
            for one, other in zip(*found, strict=True)
            if one is not None and other is not None
        ]

    def differences(self, first, second, name, reduce=np.asarray):
        """What values of some results are above those of others, seed by seed.

        Args:
            first, second: see `both`.
            name: of the values, (P, ...) by pair.
            reduce: what is made of the values before they are subtracted, (P, ...) -> (P,).

        Returns:
            (S, P) of the seeds of which both are finished; None without any.
        """
        rows = [
            reduce(one[name]).astype(float) - reduce(other[name])
            for one, other in self.both(first, second)
        ]
        return np.stack(rows) if rows else None


def interval(values):
    """(mean, lower, upper) of (S, P) values by seed and pair, without pairs that lack one."""
    if values is None:
        return (math.nan,) * 3
    usable = np.all(np.isfinite(values), axis=0)
    if not usable.any():
        return (math.nan,) * 3
    return intervals.crossed_bootstrap_interval(values[:, usable])


def in_words(values, digits=3):
    """Mean and interval of (S, P) values by seed and pair, or None, as tables have them."""
    return tables.words(*interval(values), digits)


def write(report, directory, record):
    """Writes tables (CSV and Markdown), figures and record.json.

    What an earlier report left there and this one does not have is removed.

    Args:
        report: a `Report`.
        directory: where to.
        record: JSON-compatible dict: command, scale, seeds, versions, seconds.
    """
    names = [f"{name}.{kind}" for name in report.tables for kind in ("csv", "md")]
    names += [f"{name}.png" for name in report.figures]
    before = directory / "record.json"
    if before.exists():
        for name in set(runs.read_json(before).get("files", ())).difference(names):
            (directory / pathlib.PurePath(name).name).unlink(missing_ok=True)
    for name, rows in report.tables.items():
        target = directory / f"{name}.csv"
        with runs.replacing(target) as path, path.open("w", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        runs.write_text(directory / f"{name}.md", tables.markdown(rows))
    for name, figure in report.figures.items():
        figures.save(figure, directory / f"{name}.png")
    runs.write_json(directory / "record.json", {**record, "files": names})
