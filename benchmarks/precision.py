"""Trainings in float32 and in bfloat16: images a second, and what they reach.

    python -m benchmarks.precision --json=results/precision.json

`trainers.train` as a user calls it (sprites, L = 4, fast recipe), both precisions by turns with
each seed. Runs are kept under runs/precision and reused when the program is started again.
"""

import pathlib

import numpy as np
from scipy import stats

from benchmarks import command_line, results
from benchmarks.trainings import scores
from seatbelt_tf import runs
from trainers.studies.tables import words

FLAGS = {"float32": "--nomixed_precision", "mixed_bfloat16": "--mixed_precision"}
MEASURES = ("images_per_second", "log_likelihood", "elbo")


def main():
    parser = command_line.parser("precision", __doc__)
    parser.add_argument("--seed", type=int, nargs="+", default=(0, 1, 2), help="of the trainings")
    parser.add_argument("--steps", type=command_line.positive, default=3600, help="of a training")
    parser.add_argument("--json", metavar="PATH", help="also write the figures there, and a table")
    arguments = parser.parse_args()
    found = [train(p, seed, arguments.steps) for seed in arguments.seed for p in FLAGS]
    figures = {
        **results.described(arguments),
        "trainings": found,
    }
    results.tell(arguments, figures, table)


def train(precision, seed, steps):
    """One training: dict of its precision, seed and `MEASURES`."""
    run = runs.Run(pathlib.Path(f"runs/precision/{precision}_seed{seed}_{steps}"))
    options = "--preset=fast", "--layers=4", f"--seed={seed}", f"--steps={steps}"
    found = scores(run, *options, FLAGS[precision])
    # The first report waited for the step to be traced; a short training has no other.
    rates = run.read_metrics()["images_per_second"]
    rates = rates[1:] or rates
    return {
        "precision": precision,
        "seed": seed,
        "images_per_second": float(np.median(rates)),
        **found,
    }


def table(figures):
    """The figures in Markdown."""
    values = {
        precision: np.array(
            [
                [each[name] for name in MEASURES]
                for each in figures["trainings"]
                if each["precision"] == precision
            ]
        )
        for precision in FLAGS
    }
    plain, half = values.values()
    rows = {
        **values,
        "difference": half - plain,
        "ratio": half / plain,
    }
    lines = [
        f"Written by `python -m benchmarks.precision` on {figures['machine']}: sprites, L = 4, "
        f"fast recipe, {figures['arguments']['steps']:,} steps, {len(plain)} seeds, "
        "[95 % intervals of Student's t].",
        "",
        "| precision | images/s | test log p(x\\|z) | test ELBO |",
        "|---|---|---|---|",
    ]
    for name, found in rows.items():
        cells = [words(*interval(column), 4) for column in found.T]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def interval(values):
    """(mean, lower, upper) of a few values."""
    mean, error = np.mean(values), stats.sem(values)
    # Of equal values, where SciPy's is undefined.
    if error == 0:
        return (mean, mean, mean)
    return (mean, *stats.t.interval(0.95, len(values) - 1, mean, error))


if __name__ == "__main__":
    main()
