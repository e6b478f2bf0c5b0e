"""Which treatment of the ancestors makes the strongest attack on a hierarchical model?

    python -m benchmarks.ancestors --run=runs/recipes/L4_beta6_fast

Attacks the same pairs with ancestors at their means, at 1, 4 and 16 fixed draws, and redrawn, and
scores every result with the same fresh draws: Δ = λ‖d‖₂ + divergence, and the share of the gap to
the target's reconstruction that was closed. Intervals: 95 %, bootstrap over pairs.
"""

import sys
import time

import numpy as np

from benchmarks import attack, command_line, results
from seatbelt_tf import presets, runs
from trainers import program

VARIANTS = {
    "mean": {"ancestors": "mean"},
    "1 draw": {"ancestors": "sample", "draws": 1},
    "4 draws": {"ancestors": "sample", "draws": 4},
    "16 draws": {"ancestors": "sample", "draws": 16},
    "redrawn": {"ancestors": "fresh", "draws": 1},
}
FRESH_DRAWS = 64


def main():
    parser = command_line.parser("ancestors", __doc__)
    parser.add_argument("--run", required=True, help="run directory of a model with L > 1")
    # Ratios need what cannot be negative.
    latent = [name for name in presets.ATTACK_OBJECTIVES if name != "output"]
    parser.add_argument("--objective", default="latent_kl", choices=latent, help="of the attack")
    parser.add_argument("--pairs", type=command_line.positive, default=10, help="of test images")
    parser.add_argument("--weights", type=command_line.positive, default=10, help="λ a pair")
    parser.add_argument(
        "--json",
        metavar="PATH",
        default="results/ancestors.json",
        help="written to, and a table",
    )
    arguments = parser.parse_args()
    program.import_tensorflow()
    from seatbelt_tf import attacks
    from seatbelt_tf.attacks import scoring

    model, images, targets, weights, pairs = attack.problem(
        runs.Run(arguments.run), arguments.pairs, arguments.weights
    )
    layers = tuple(range(len(model.latent_dims)))
    fresh = scoring.FreshDivergence(model, arguments.objective, layers, 1234, FRESH_DRAWS)
    score = scoring.Scorer(model, 1234, FRESH_DRAWS)
    found = {}
    for name, options in VARIANTS.items():
        start = time.perf_counter()
        result = attacks.attack(
            model, images, targets, weights, arguments.objective, pair_ids=pairs, **options
        )
        seconds = time.perf_counter() - start
        found[name] = {
            "loss": weights * result.distortion_norm + fresh(result.adversarial, targets),
            "closed_share": score(images, targets, result.adversarial).closed_share,
            "seconds": seconds,
        }
        print(f"{name}: {seconds:.0f} s", flush=True)
    cells = [
        {"ancestors": name, **_compare(values, found["mean"], pairs)}
        for name, values in found.items()
    ]
    settings = {
        "command": program.told(sys.argv),
        "objective": arguments.objective,
        "attacks": len(weights),
        "fresh_draws": FRESH_DRAWS,
    }
    table = _table(cells)
    text = f"Written by `{settings['command']}`.\n\n{table}\n"
    results.write(arguments.json, {**settings, "cells": cells}, text)
    print(table)


def _compare(values, reference, pairs):
    """Geometric mean of Δ over that with means, mean closed share, and intervals."""
    from seatbelt_tf.evaluation import intervals

    log_ratio = np.log(np.maximum(values["loss"], 1e-3) / np.maximum(reference["loss"], 1e-3))
    by_pair = [
        [np.nanmean(array[pairs == pair]) for pair in np.unique(pairs)]
        for array in (log_ratio, values["closed_share"])
    ]
    ratio, share = (intervals.bootstrap_interval(array) for array in by_pair)
    return {
        "loss_to_mean": [float(np.exp(number)) for number in ratio],
        "closed_share": [float(number) for number in share],
        "seconds": values["seconds"],
    }


def _table(cells):
    lines = ["| ancestors | fresh Δ / Δ(mean) | closed share | seconds |", "|---|---:|---:|---:|"]
    for cell in cells:
        ratio, share = (
            "{:.3g} [{:.3g}, {:.3g}]".format(*cell[name])
            for name in ("loss_to_mean", "closed_share")
        )
        lines.append(f"| {cell['ancestors']} | {ratio} | {share} | {cell['seconds']:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
