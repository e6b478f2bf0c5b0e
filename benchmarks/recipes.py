"""Compares training recipes on sprites for the same number of images.

    python -m benchmarks.recipes --json=results/recipes.json

Every cell is a `trainers.train` run in a process of its own, kept under runs/recipes and reused
when the program is started again. Writes test log p(x | z) and ELBO.
"""

import os
import pathlib
import platform
import sys

from benchmarks import command_line, results
from benchmarks.trainings import scores, scores_file
from seatbelt_tf import runs
from trainers import program

IMAGES = 384_000
RECIPES = {
    "fast": ["--preset=fast"],
    "paper": ["--preset=paper"],
}
MODELS = {
    "L=1 d=64 beta=1": ["--latent_dims=64", "--beta=1"],
    "L=1 d=64 beta=6": ["--latent_dims=64", "--beta=6"],
    "L=4 beta=6": ["--layers=4", "--beta=6"],
}


def main():
    parser = command_line.parser("recipes", __doc__)
    parser.add_argument(
        "--recipe", nargs="*", choices=RECIPES, default=list(RECIPES), help="to train with"
    )
    parser.add_argument("--model", nargs="*", choices=MODELS, default=list(MODELS), help="to train")
    parser.add_argument(
        "--json", metavar="PATH", default="results/recipes.json", help="written to, and a table"
    )
    arguments = parser.parse_args()
    for recipe in arguments.recipe:
        for model in arguments.model:
            batch_size = 1024 if recipe == "paper" else 64
            steps = f"--steps={IMAGES // batch_size}"
            scores(_run(recipe, model), steps, *RECIPES[recipe], *MODELS[model])
    cells = [
        {"recipe": recipe, "model": model, **scores(_run(recipe, model))}
        for recipe in RECIPES
        for model in MODELS
        if scores_file(_run(recipe, model)).exists()
    ]
    figures = {
        "images": IMAGES,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "command": program.told(sys.argv),
        "cells": cells,
    }
    table = _table(cells)
    text = (
        f"Written by `{figures['command']}`: sprites, {IMAGES:,} training images each, "
        f"{figures['machine']}. Test log p(x | z) and ELBO in nats; the best possible "
        f"log p(x | z) is 5,667.\n\n{table}\n"
    )
    results.write(arguments.json, figures, text)
    print(table)


def _table(cells):
    lines = ["| model | recipe | log p(x\\|z) | ELBO |", "|---|---|---:|---:|"]
    lines += [
        f"| {cell['model']} | {cell['recipe']} | {cell['log_likelihood']:,.0f} "
        f"| {cell['elbo']:,.0f} |"
        for cell in cells
    ]
    return "\n".join(lines)


def _run(recipe, model):
    name = f"{model}_{recipe}".replace(" ", "_").replace(",", "").replace("=", "")
    return runs.Run(pathlib.Path("runs/recipes") / name)


if __name__ == "__main__":
    main()
