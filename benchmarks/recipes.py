"""Compares training recipes on sprites for the same number of images.

    python -m benchmarks.recipes --results=results/recipes.json

Every cell is a `trainers.train` run in a process of its own, kept under runs/recipes and reused
when the program is started again. Writes test log p(x | z), ELBO and seconds of each.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

from seatbelt_tf import runs

IMAGES = 384_000
RECIPES = {
    "fast": ["--preset=fast"],
    "paper": ["--preset=paper"],
    "paper, batch 64": ["--preset=paper", "--batch_size=64"],
}
MODELS = {
    "L=1 d=6 beta=1": ["--layers=1", "--beta=1"],
    "L=1 d=64 beta=1": ["--latent_dims=64", "--beta=1"],
    "L=1 d=64 beta=6": ["--latent_dims=64", "--beta=6"],
    "L=4 beta=6": ["--layers=4", "--beta=6"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--results", default="results/recipes.json", help="where to write")
    parser.add_argument("--recipes", nargs="*", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    for recipe in arguments.recipes:
        for model in arguments.models:
            _train(recipe, model)
    cells = [
        {"recipe": recipe, "model": model, **json.loads(_result(recipe, model).read_text())}
        for recipe in RECIPES
        for model in MODELS
        if _result(recipe, model).exists()
    ]
    results = {
        "images": IMAGES,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "command": "python -m benchmarks.recipes",
        "cells": cells,
    }
    runs.write_json(arguments.results, results)
    print(f"{'model':18}{'recipe':18}{'log p(x|z)':>12}{'ELBO':>10}{'seconds':>9}")
    for cell in cells:
        print(
            f"{cell['model']:18}{cell['recipe']:18}{cell['log_likelihood']:12,.0f}"
            f"{cell['elbo']:10,.0f}{cell['seconds']:9.0f}"
        )


def _directory(recipe, model):
    name = f"{model}_{recipe}".replace(" ", "_").replace(",", "").replace("=", "")
    return pathlib.Path("runs/recipes") / name


def _result(recipe, model):
    return _directory(recipe, model) / "result.json"


def _train(recipe, model):
    if _result(recipe, model).exists():
        return
    options = [*RECIPES[recipe], *MODELS[model]]
    batch_size = 1024 if recipe == "paper" else 64
    start = time.monotonic()
    subprocess.run(
        [
            sys.executable,
            *("-m", "trainers.train", "--overwrite", f"--steps={IMAGES // batch_size}"),
            *(f"--run={_directory(recipe, model)}", *options),
        ],
        check=True,
    )
    scores = json.loads((_directory(recipe, model) / "evaluation" / "test.json").read_text())
    seconds = round(time.monotonic() - start, 1)
    runs.write_json(_result(recipe, model), {**scores, "seconds": seconds})


if __name__ == "__main__":
    main()
