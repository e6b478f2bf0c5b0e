"""Requests a second and latency of an exported model against calling the Keras model.

    python -m benchmarks.serving --json=results/serving.json

An untrained model of the default size is exported to a temporary directory, or --run gives one.
The export runs in TensorFlow's C++ loader (XLA off, as TF Serving has it; no network, no pickling
in the times), the Keras model in this process, eagerly as users call it and as a tf.function; all
by turns, one request at a time. Then fresh loader processes are timed at their first request, with
and without replaying the warm-up requests first.
"""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import time

import numpy as np

from benchmarks import command_line
from benchmarks.command_line import positive
from seatbelt_tf import runs
from trainers import program

BATCH_SIZES = (1, 32)
SIGNATURES = ("encode", "reconstruct", "score", "sample")


def main():
    parser = command_line.parser("serving", __doc__)
    parser.add_argument("--run", help="run directory; without it an untrained model")
    parser.add_argument(
        "--requests", type=positive, default=200, help="by form, batch and signature"
    )
    parser.add_argument("--processes", type=positive, default=5, help="for the first requests")
    parser.add_argument("--json", metavar="PATH", help="also write the figures there")
    arguments = parser.parse_args()
    program.import_tensorflow()
    from export import exporter

    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        run = runs.Run(arguments.run) if arguments.run else _untrained(directory / "run")
        version = exporter.export_run(run, directory / "model")
        result = {
            "command": " ".join(["python -m benchmarks.serving", *sys.argv[1:]]),
            "date": datetime.date.today().isoformat(),
            "load_average": os.getloadavg()[0],
            "cores": len(os.sched_getaffinity(0)),
            "machine": platform.processor() or platform.machine(),
            "tensorflow": importlib.metadata.version("tensorflow"),
            "model": {name: run.config()["model"][name] for name in ("image_shape", "latent_dims")},
            "cells": _steady(run, version, arguments.requests),
            "first_request": _first(run, version, arguments.processes),
        }
    if arguments.json:
        runs.write_json(arguments.json, result)


def _untrained(path):
    from seatbelt_tf import SeatbeltVAE

    run = runs.Run(path)
    options = {"image_shape": [64, 64, 1], "latent_dims": [48, 24, 12, 6]}
    run.create({"model": options, "data": {"name": "sprites", "data_dir": None, "image_size": 64}})
    run.save_model(SeatbeltVAE(**options))
    return run


def _inputs(run, signature, rows):
    shape = run.config()["model"]["image_shape"]
    images = np.random.default_rng(0).uniform(-1, 1, (rows, *shape)).astype(np.float32)
    seed = np.stack([np.arange(rows), np.zeros(rows)], axis=1).astype(np.int32)
    given = {"images": images, "seed": seed}
    wanted = {"score": ("images", "seed"), "sample": ("seed",)}.get(signature, ("images",))
    return {name: given[name] for name in wanted}


def _keras_calls(model):
    """The same questions to the Keras model: {signature: function of the inputs}."""
    return {
        "encode": lambda images: [np.asarray(x) for pair in model.encode(images) for x in pair],
        "reconstruct": lambda images: np.asarray(model(images)),
        "score": lambda images, seed: np.asarray(model.elbo(images, seed=int(seed[0, 0]))),
        "sample": lambda seed: np.asarray(model.sample(len(seed), seed=int(seed[0, 0]))),
    }


def _compiled_calls(model):
    import tensorflow as tf

    graphs = {
        "encode": tf.function(model.encode, autograph=False),
        "reconstruct": tf.function(model, autograph=False),
    }
    return {
        "encode": lambda images: [np.asarray(x) for pair in graphs["encode"](images) for x in pair],
        "reconstruct": lambda images: np.asarray(graphs["reconstruct"](images)),
    }


def _steady(run, version, requests):
    from export import cpp_loader

    model = run.load_model()
    forms = {"keras": _keras_calls(model), "keras_function": _compiled_calls(model)}
    cells = []
    with cpp_loader.Loader(version) as loader:
        for rows in BATCH_SIZES:
            for signature in SIGNATURES:
                inputs = _inputs(run, signature, rows)
                calls = {"served": lambda s=signature, i=inputs: _served(loader, s, i)}
                for form, questions in forms.items():
                    if signature in questions:
                        question = questions[signature]
                        calls[form] = lambda q=question, i=inputs: _timed(q, i)
                times = {form: [] for form in calls}
                for turn in range(requests + requests // 10):
                    for form, call in calls.items():
                        seconds = call()
                        if turn >= requests // 10:
                            times[form].append(seconds)
                cells.append(_cell(signature, rows, times))
                _print(cells[-1])
    return cells


def _served(loader, signature, inputs):
    loader.predict(signature, inputs)
    return loader.seconds


def _timed(question, inputs):
    start = time.perf_counter()
    question(**inputs)
    return time.perf_counter() - start


def _cell(signature, rows, times):
    cell = {"signature": signature, "batch": rows, "requests": len(times["served"])}
    for form, seconds in times.items():
        cell[form] = {
            "requests_per_second": 1 / statistics.fmean(seconds),
            "median_ms": 1e3 * statistics.median(seconds),
            "p99_ms": 1e3 * float(np.percentile(seconds, 99)),
        }
    cell["speed_ratio"] = cell["keras"]["median_ms"] / cell["served"]["median_ms"]
    return cell


def _print(cell):
    forms = "; ".join(
        f"{form} {cell[form]['requests_per_second']:.1f}/s, "
        f"median {cell[form]['median_ms']:.2f} ms, 99th percentile {cell[form]['p99_ms']:.2f} ms"
        for form in ("served", "keras", "keras_function")
        if form in cell
    )
    print(f"{cell['signature']}, batch {cell['batch']}: {forms}; {cell['speed_ratio']:.2f} times")


def _first(run, version, processes):
    """Milliseconds of a fresh process's first request: medians by signature."""
    from export import cpp_loader, image_bytes, signatures, warmup

    recipe = image_bytes.recipe_of(run.config())
    requests = warmup.requests(signatures.of_model(run.load_model(), recipe), recipe)
    figures = {}
    for rows, signature in ((1, "encode"), (32, "encode"), (1, "score")):
        times = {"cold_ms": [], "warmed_ms": []}
        for form in list(times) * processes:
            with cpp_loader.Loader(version) as loader:
                for name, inputs in requests if form == "warmed_ms" else ():
                    loader.predict(name, inputs)
                seconds = _served(loader, signature, _inputs(run, signature, rows))
                times[form].append(1e3 * seconds)
        key = f"{signature}, batch {rows}"
        figures[key] = {form: statistics.median(values) for form, values in times.items()}
        print(f"first request, {key}: {figures[key]}")
    return figures


if __name__ == "__main__":
    main()
