"""One table of all experiments of a scale: the paper's finding beside ours, time and command."""

import pathlib
import re

from seatbelt_tf import runs, storage
from trainers import kept
from trainers.studies import experiments, tables


def name(experiment, dataset):
    """The name of the directory of an experiment on a dataset, beside README.md."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", dataset)
    # Two folders may differ in what was replaced alone.
    return f"{experiment}-{plain}" + (f"-{kept.digest(dataset)}" if plain != dataset else "")


def write(directory):
    """Writes README.md beside the experiments' directories.

    Args:
        directory: RESULTS/SCALE.
    """
    directory = pathlib.Path(directory)
    # Who reads the records earlier must not write the table later.
    with storage.claim(directory / "README.md", wait=True):
        rows = _rows(directory)
        if rows:
            runs.write_text(directory / "README.md", tables.markdown(rows))


def _rows(directory):
    records = [storage.read_json(path) for path in directory.glob("*/record.json")]
    order = list(experiments.EXPERIMENTS)
    # What an earlier version had under another name stays where it is.
    records = [record for record in records if record.get("experiment") in order]
    records.sort(key=lambda record: (order.index(record["experiment"]), record["dataset"]))
    return [
        {
            "experiment": _link(record),
            "paper": record["paper"].replace("; ", "<br>") or "—",
            "ours": (record["ours"] + _unfinished(record)).replace("; ", "<br>"),
            "hours": f"{record['seconds'] / 3600:.1f}",
        }
        for record in records
    ]


def _link(record):
    own = name(record["experiment"], record["dataset"])
    command = f"--experiment={record['experiment']}"
    # Without it an experiment takes all of its datasets.
    if (record["dataset"],) != experiments.EXPERIMENTS[record["experiment"]].here:
        command += f" --dataset={record['dataset']}"
    return f"[`{command}`]({own}), {record['dataset']}"


def _unfinished(record):
    count = record["unfinished_models"]
    return f"; {count} model{'s' * (count > 1)} unfinished" if count else ""
