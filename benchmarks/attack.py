"""Times and scores our batched attack against SciPy's L-BFGS-B, one attack at a time.

    python -m benchmarks.attack --runs runs/recipes/L4_beta6_fast runs/recipes/L1_d64_beta1_fast

For each run and objective: all pairs × λ at once by each of our routes, and a random part of them
by SciPy (memory 25, ftol 10·eps, the same starts, limit of evaluations and compiled gradient, for
one image). Writes quantiles of the ratios of final losses, and of the wall times.
"""

import argparse
import resource
import time

import numpy as np

from seatbelt_tf import presets, runs
from trainers import program

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", nargs="+", required=True, help="run directories")
    parser.add_argument(
        "--objectives",
        nargs="+",
        default=["latent_kl", "latent_w2", "output"],
        choices=presets.ATTACK_OBJECTIVES,
    )
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--weights", type=int, default=50)
    parser.add_argument("--scipy", type=int, default=48, help="attacks that SciPy solves")
    parser.add_argument("--tfp", action="store_true", help="also time the TFP route")
    parser.add_argument("--max_evaluations", type=int, default=400)
    parser.add_argument("--results", default="results/attack.json")
    arguments = parser.parse_args()
    program.import_tensorflow()
    cells = []
    for path in arguments.runs:
        for objective in arguments.objectives:
            cells += _compare(runs.Run(path), objective, arguments)
            runs.write_json(
                arguments.results, {"command": "python -m benchmarks.attack", "cells": cells}
            )
    _print(cells)


def _compare(run, objective, arguments):
    from seatbelt_tf import attacks
    from trainers import training

    model = run.load_model()
    data = training.data(
        run.config()["data"], "test", batch_size=2 * arguments.pairs, shuffle=True, seed=0
    )
    images, targets = np.split(next(iter(data)).numpy(), 2)
    weights = np.tile(attacks.paper_weights(arguments.weights), arguments.pairs)
    ids = np.repeat(np.arange(arguments.pairs), arguments.weights)
    chosen = np.sort(np.random.default_rng(0).choice(len(ids), arguments.scipy, replace=False))

    def solve(rows, optimizer):
        start = time.perf_counter()
        result = attacks.attack(
            model,
            images[ids[rows]],
            targets[ids[rows]],
            weights[rows],
            objective,
            max_evaluations=arguments.max_evaluations,
            optimizer=optimizer,
        )
        return result, time.perf_counter() - start

    everything = np.arange(len(ids))
    reference, scipy_seconds = solve(chosen, "scipy")
    scipy_seconds *= len(ids) / len(chosen)
    cells = []
    for optimizer in ["lbfgs", *(["tfp"] if arguments.tfp else [])]:
        result, seconds = solve(everything, optimizer)
        ratios = result.loss[chosen] / reference.loss
        cells.append(
            {
                "run": run.path.name,
                "objective": objective,
                "optimizer": optimizer,
                "attacks": len(ids),
                "compared": len(chosen),
                "geometric_mean_ratio": float(np.exp(np.mean(np.log(np.maximum(ratios, 1e-12))))),
                "quantiles": {str(q): float(np.quantile(ratios, q)) for q in QUANTILES},
                "seconds": seconds,
                "scipy_seconds": scipy_seconds,
                "speed_ratio": scipy_seconds / seconds,
                "median_evaluations": float(np.median(result.evaluations)),
                "scipy_median_evaluations": float(np.median(reference.evaluations)),
                "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
        _print(cells[-1:])
    return cells


def _print(cells):
    for cell in cells:
        quantiles = " ".join(f"{value:.4f}" for value in cell["quantiles"].values())
        print(
            f"{cell['run']} {cell['objective']} {cell['optimizer']}: loss/SciPy geometric mean "
            f"{cell['geometric_mean_ratio']:.4f}, quantiles {quantiles}; "
            f"{cell['seconds']:.0f} s against {cell['scipy_seconds']:.0f} s "
            f"({cell['speed_ratio']:.1f} times)",
            flush=True,
        )


if __name__ == "__main__":
    main()
