"""Trainings with several free bits: what they reach, and what each layer holds.

    python -m benchmarks.free_bits --json=results/free_bits.json

`trainers.train` as a user calls it (sprites of 32×32 pixels, L = 4, fast recipe), every amount with
each seed. Runs are kept under runs/free_bits and reused when the program is started again.
"""

import pathlib

import numpy as np

from benchmarks import command_line, results
from benchmarks.precision import interval
from benchmarks.trainings import scores
from seatbelt_tf import runs
from trainers.studies.tables import markdown, words

AMOUNTS = (0.0, 0.03, 0.125, 0.5)
LAYERS = 4
MEASURES = {
    "log_likelihood": "log p(x|z)",
    "elbo": "ELBO",
    **{f"kl_layer_{i}": f"KL of layer {i}" for i in range(1, LAYERS + 1)},
}


def main():
    parser = command_line.parser("free_bits", __doc__)
    parser.add_argument("--seed", type=int, nargs="+", default=(0, 1, 2), help="of the trainings")
    parser.add_argument("--steps", type=command_line.positive, default=1600, help="of a training")
    parser.add_argument("--json", metavar="PATH", help="also write the figures there, and a table")
    arguments = parser.parse_args()
    found = [
        {"free_bits": amount, "seed": seed, **train(amount, seed, arguments.steps)}
        for seed in arguments.seed
        for amount in AMOUNTS
    ]
    figures = {
        **results.described(arguments),
        "trainings": found,
    }
    results.tell(arguments, figures, table)


def train(amount, seed, steps):
    """One training: dict of `MEASURES` on test images."""
    run = runs.Run(pathlib.Path(f"runs/free_bits/{amount:g}_seed{seed}_{steps}"))
    found = scores(
        run,
        *("--preset=fast", "--image_size=32", "--batch_size=64", f"--layers={LAYERS}"),
        *(f"--free_bits={amount:g}", f"--seed={seed}", f"--steps={steps}"),
    )
    return {name: found[name] for name in MEASURES}


def table(figures):
    """The figures in Markdown: means over the seeds, and the ELBO's difference to none."""
    by_amount = {
        amount: {
            name: np.array(
                [each[name] for each in figures["trainings"] if each["free_bits"] == amount]
            )
            for name in MEASURES
        }
        for amount in AMOUNTS
    }
    rows = [
        {
            "free bits, nats a unit": f"{amount:g}",
            **{label: words(*interval(found[name]), 4) for name, label in MEASURES.items()},
            "ELBO, above none's": words(*interval(found["elbo"] - by_amount[0.0]["elbo"]), 4),
        }
        for amount, found in by_amount.items()
    ]
    return (
        f"Written by `python -m benchmarks.free_bits` on {figures['machine']}, "
        f"{figures['processor']}: sprites of 32×32 pixels, L = {LAYERS}, β = 6, fast recipe, "
        f"{figures['arguments']['steps']:,} steps of 64 images, "
        f"{len(figures['arguments']['seed'])} seeds, in nats [95 % intervals of Student's t]. "
        "Layer 1 is the bottom.\n\n" + markdown(rows)
    )


if __name__ == "__main__":
    main()
