"""Times and scores our batched attack against SciPy's L-BFGS-B, one attack at a time.

    python -m benchmarks.attack --run runs/recipes/L4_beta6_fast runs/recipes/L1_d64_beta1_fast

For each run and objective: all pairs × λ at once by each of our routes, and a random part of them
by SciPy (memory 25, ftol 10·eps, the same starts, limit of evaluations and compiled gradient, for
one image). Losses are compared as ratios; that of the output attack, which may be negative, counts
from the lowest value it can have. The route "path" is lbfgs with warm starts from other λ of the
pair, as batteries do it; SciPy's attacks know nothing of each other. Beside each ratio of times
stands the one that a minimiser would have that costs nothing but its evaluations, all in one batch:
no algebra can be faster. SciPy's time for all attacks is extrapolated from those it solved; what is
paid once (tracing) counts once. With --scaling: seconds and memory against the number of attacks.
"""

import itertools
import math
import pathlib
import sys
import time

import numpy as np

from benchmarks import command_line, results
from benchmarks.processes import in_fresh_process, peak_bytes
from seatbelt_tf import presets, runs, storage
from trainers import program

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
ROUTES = ("lbfgs", "path", "tfp", "adam")
# SciPy's of the paper.
SCIPY_MEMORY = 25
SCIPY_EVALUATIONS = 400
SCALING_ATTACKS = (50, 500, 5000)
SCALING_EVALUATIONS = 40
# Timed one after the other.
EVALUATIONS = 20


def main():
    parser = command_line.parser("attack", __doc__)
    parser.add_argument("--run", nargs="+", required=True, help="run directories")
    parser.add_argument(
        "--objective",
        nargs="+",
        default=["latent_kl", "latent_w2", "output"],
        choices=presets.ATTACK_OBJECTIVES,
        help="of the attacks",
    )
    positive = command_line.positive
    parser.add_argument("--pairs", type=positive, default=10, help="of test images")
    parser.add_argument("--weights", type=positive, default=50, help="λ a pair")
    parser.add_argument("--scipy", type=positive, default=48, help="attacks that SciPy solves")
    parser.add_argument(
        "--memory",
        type=positive,
        nargs="+",
        help="pairs that ours remember (default: as many as attacks with the objective do)",
    )
    parser.add_argument(
        "--route", nargs="+", default=["lbfgs"], choices=ROUTES, help="of ours to compare"
    )
    parser.add_argument(
        "--max_evaluations", type=positive, nargs="+", default=[400], help="of ours"
    )
    parser.add_argument(
        "--scaling", action="store_true", help="time and memory of --run by number of attacks"
    )
    parser.add_argument(
        "--json",
        metavar="PATH",
        help="added to cell by cell, and a table (default: results/attack.json; with --scaling "
        "results/attack_scaling.json)",
    )
    arguments = parser.parse_args()
    if arguments.scipy < 2:
        parser.error("argument --scipy: expected at least 2")
    command = program.told(sys.argv)
    if arguments.scaling:
        found = {"command": command, "cells": _scaling(arguments)}
        runs.write_json(arguments.json or "results/attack_scaling.json", found)
        return
    program.import_tensorflow()
    path = pathlib.Path(arguments.json or "results/attack.json")
    cells = storage.read_json(path)["cells"] if path.exists() else []
    for run in arguments.run:
        for objective in arguments.objective:
            found = _compare(runs.Run(run), objective, arguments)
            new = [{**cell, "command": command} for cell in found]
            keys = [_key(cell) for cell in new]
            cells = [cell for cell in cells if _key(cell) not in keys] + new
            results.write(path, {"cells": cells}, _table(cells))
    print(_table(cells))


def _key(cell):
    names = ("run", "objective", "route", "memory", "max_evaluations", "attacks", "compared")
    return tuple(cell[name] for name in names)


def problem(run, pairs, weights):
    """The model and `pairs` × `weights` attacks of its test images: images, targets, λ, pair."""
    from seatbelt_tf import attacks
    from trainers import splits

    images, targets = splits.pairs(run.config()["data"], pairs)
    ids = np.repeat(np.arange(pairs), weights)
    all_weights = np.tile(attacks.paper_weights(weights), pairs)
    return run.load_model(), images[ids], targets[ids], all_weights, ids


def _compare(run, objective, arguments):
    from seatbelt_tf import attacks

    model, images, targets, weights, ids = problem(run, arguments.pairs, arguments.weights)
    count = len(weights)
    chosen = np.sort(np.random.default_rng(0).choice(count, arguments.scipy, replace=False))
    lowest = 0.0
    if objective == "output":
        lowest = math.prod(model.image_shape) * math.log(model.likelihood_scale * math.tau**0.5)

    def prepared(route, memory, max_evaluations):
        attack = attacks.Attack(
            model,
            objective,
            max_evaluations=max_evaluations,
            optimizer="lbfgs" if route == "path" else route,
            memory=memory,
        )

        def solve(rows):
            start = time.perf_counter()
            pair_ids = ids[rows] if route == "path" else None
            result = attack(images[rows], targets[rows], weights[rows], pair_ids)
            return result, time.perf_counter() - start

        return solve

    by_scipy = prepared("scipy", SCIPY_MEMORY, SCIPY_EVALUATIONS)
    # What every call pays once, and the first call more of, counts once.
    _, all_once = by_scipy(chosen[:1])
    _, once = by_scipy(chosen[:1])
    reference, seconds = by_scipy(chosen)
    scipy_seconds = all_once + (count - 1) * (seconds - once) / (len(chosen) - 1)
    batched = _batched_evaluation_seconds(model, objective, images, targets)
    cells = []
    ways = itertools.product(arguments.route, arguments.memory or [None], arguments.max_evaluations)
    for route, memory, max_evaluations in ways:
        memory = memory or attacks.objectives.find(objective).memory
        result, seconds = prepared(route, memory, max_evaluations)(np.arange(count))
        ratios = (result.loss[chosen] - lowest) / (reference.loss - lowest)
        mean_evaluations = float(np.mean(result.evaluations))
        cells.append(
            {
                "run": run.path.name,
                "objective": objective,
                "route": route,
                "memory": memory,
                "max_evaluations": max_evaluations,
                "attacks": count,
                "compared": len(chosen),
                "geometric_mean_ratio": float(np.exp(np.mean(np.log(np.maximum(ratios, 1e-12))))),
                "quantiles": {str(q): float(np.quantile(ratios, q)) for q in QUANTILES},
                "seconds": seconds,
                "scipy_seconds": scipy_seconds,
                "speed_ratio": scipy_seconds / seconds,
                "evaluation_only_ratio": scipy_seconds / (mean_evaluations * batched),
                "batched_evaluation_seconds": batched,
                "mean_evaluations": mean_evaluations,
                "scipy_mean_evaluations": float(np.mean(reference.evaluations)),
                "statuses": {
                    status.name: int(np.sum(result.status == status)) for status in attacks.Status
                },
            }
        )
        print(_table(cells[-1:]), flush=True)
    return cells


def _batched_evaluation_seconds(model, objective, images, targets):
    """Seconds that Δ's divergence part and its gradient take, all attacks at once."""
    from seatbelt_tf.attacks.problem import Problem

    problem = Problem(model, objective, "all", "mean", 1, 0)
    prepared = problem.compiled(problem.prepare)(targets)
    gradient = problem.compiled(problem.value_and_gradient)
    gradient(images, prepared)  # traces
    start = time.perf_counter()
    for _ in range(EVALUATIONS):
        gradient(images, prepared)
    return (time.perf_counter() - start) / EVALUATIONS


def _scaling(arguments):
    """Seconds and peak memory of batteries of growing size, each in a process of its own."""
    cells = []
    for run in arguments.run:
        for attacks in SCALING_ATTACKS:
            sizes = attacks // arguments.weights, arguments.weights
            cells.append(in_fresh_process(_measure, run, *sizes))
            print(cells[-1], flush=True)
    return cells


def _measure(path, pairs, weights):
    program.import_tensorflow()
    from seatbelt_tf import attacks

    model, *arrays, _ = problem(runs.Run(path), pairs, weights)
    attack = attacks.Attack(model, max_evaluations=SCALING_EVALUATIONS)
    attack(*(array[:2] for array in arrays))  # traces
    before, start = peak_bytes(), time.perf_counter()
    attack(*arrays)
    return {
        "run": pathlib.Path(path).name,
        "attacks": pairs * weights,
        "evaluations": SCALING_EVALUATIONS,
        "seconds": time.perf_counter() - start,
        "added_megabytes": (peak_bytes() - before) / 1e6,
    }


def _table(cells):
    lines = [
        "| run | objective | route (memory, evaluations) | compared | loss / SciPy: geometric mean "
        "| quantiles 5, 25, 50, 75, 95 % | seconds | SciPy's | ratio | evaluations alone |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in cells:
        quantiles = " ".join(f"{value:.4f}" for value in cell["quantiles"].values())
        lines.append(
            f"| {cell['run']} | {cell['objective']} | {cell['route']} "
            f"({cell['memory']}, {cell['max_evaluations']}) | {cell['compared']} "
            f"| {cell['geometric_mean_ratio']:.4f} | {quantiles} | {cell['seconds']:.0f} "
            f"| {cell['scipy_seconds']:.0f} | {cell['speed_ratio']:.1f} "
            f"| {cell['evaluation_only_ratio']:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
