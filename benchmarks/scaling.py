"""Step time and peak memory by batch and depth, by precision, and by number of processes.

    python -m benchmarks.scaling --json=results/scaling.json

Every cell is a fresh process with all of this machine's cores: the paper's model of 64×64×1 images,
random pixels, the fastest of a few turns of `SeatbeltVAE.train_step`. Peak memory is the process's
own, above what it held with the model built and no step taken. The last part trains with
`trainers.train` in one process and in two with the same global batch, half of the cores each.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import time

from seatbelt_tf import presets, runs
from trainers import program

BATCHES = (64, 256, 1024, 4096)
LAYERS = (1, 2, 3, 4, 5)
TURNS = 3
# Steps a turn: enough images that a turn takes about a second.
IMAGES_A_TURN = 1024


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling",
        description=__doc__.split("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS, choices=LAYERS)
    parser.add_argument("--steps", type=int, default=200, help="of the trainings compared (200)")
    parser.add_argument("--json", metavar="PATH", help="also write the figures there, and a table")
    return parser.parse_args()


def measure(batch_size, layers, dtype):
    """One cell, in a process of its own: dict of images a second, peak bytes and the first loss."""
    program.import_tensorflow()
    import keras
    import tensorflow as tf

    from seatbelt_tf import SeatbeltVAE

    dims = presets.preset_sizes("dsprites", layers).latent_dims
    model = SeatbeltVAE(image_shape=(64, 64, 1), latent_dims=dims, beta=6.0, dtype=dtype)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    model.optimizer.build(model.trainable_variables)
    images = tf.random.stateless_uniform((batch_size, 64, 64, 1), (1, 2), -1, 1)
    before = _peak_bytes()

    @tf.function(autograph=False)
    def step(images):
        return model.train_step((images,))["loss"]

    first = float(step(images))
    steps = max(IMAGES_A_TURN // batch_size, 1)
    seconds = []
    for _ in range(TURNS):
        start = time.perf_counter()
        for _ in range(steps):
            loss = step(images)
        loss.numpy()
        seconds.append((time.perf_counter() - start) / steps)
    return {
        "batch_size": batch_size,
        "layers": layers,
        "dtype": dtype,
        "step_seconds": min(seconds),
        "images_per_second": batch_size / min(seconds),
        "peak_bytes": _peak_bytes() - before,
        "first_loss": first,
    }


def _peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_fresh_process(*cell):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, cell)


def train(workers, steps, directory):
    """Median images a second of a training by one or more processes, batch 256."""
    sockets = [socket.socket() for _ in range(workers)]
    for opened in sockets:
        opened.bind(("localhost", 0))
    addresses = [f"localhost:{opened.getsockname()[1]}" for opened in sockets]
    for opened in sockets:
        opened.close()
    command = [sys.executable, "-m", "trainers.train", "--noreport", "--batch_size=256"]
    command += [f"--steps={steps}", f"--run={directory}/{workers}"]
    if workers > 1:
        command.append("--strategy=multi_worker")
    threads = max(len(os.sched_getaffinity(0)) // workers, 1)
    processes = []
    for index in range(workers):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {
            **os.environ,
            "TF_CONFIG": json.dumps(config) if workers > 1 else "",
            "TF_NUM_INTRAOP_THREADS": str(threads),
        }
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
    if any(process.wait() for process in processes):
        sys.exit("python -m benchmarks.scaling: a training failed: see above")
    rates = runs.Run(pathlib.Path(directory) / str(workers)).read_metrics()["images_per_second"]
    # The first report waited for the step to be traced.
    return sorted(rates[1:])[len(rates[1:]) // 2]


def table(figures):
    """The figures in Markdown."""
    lines = [
        f"Written by `python -m benchmarks.scaling` on {figures['machine']}, load "
        f"{figures['load'][0]:.1f} at the start. Loss: relative difference from float32 at the "
        "first step.",
        "",
        "| L | batch | precision | ms a step | images/s | peak MB | loss |",
        "|---|---|---|---|---|---|---|",
    ]
    exact = {(c["layers"], c["batch_size"]): c for c in figures["cells"] if c["dtype"] == "float32"}
    for cell in figures["cells"]:
        peer = exact.get((cell["layers"], cell["batch_size"]), cell)["first_loss"]
        lines.append(
            f"| {cell['layers']} | {cell['batch_size']} | {cell['dtype']} "
            f"| {1e3 * cell['step_seconds']:,.0f} | {cell['images_per_second']:,.0f} "
            f"| {cell['peak_bytes'] / 1e6:,.0f} | {abs(cell['first_loss'] / peer - 1):.0e} |"
        )
    rates = figures["processes_images_per_second"]
    lines += ["", "| processes, global batch 256 | images/s |", "|---|---|"]
    lines += [f"| {count} | {rate:,.0f} |" for count, rate in rates.items()]
    return "\n".join(lines) + "\n"


def main():
    arguments = parse_arguments()
    figures = {"machine": f"{os.cpu_count()} cores", "load": os.getloadavg(), "cells": []}
    cells = [(batch, 4, "float32") for batch in arguments.batches]
    cells += [(256, layers, "float32") for layers in arguments.layers if layers != 4]
    cells += [(256, 4, "mixed_bfloat16")]
    for cell in cells:
        figures["cells"].append(in_fresh_process(*cell))
        print(figures["cells"][-1], flush=True)
    with tempfile.TemporaryDirectory() as directory:
        figures["processes_images_per_second"] = {
            workers: train(workers, arguments.steps, directory) for workers in (1, 2)
        }
    print(table(figures))
    if arguments.json:
        runs.write_json(arguments.json, figures)
        with runs.replacing(pathlib.Path(arguments.json).with_suffix(".md")) as path:
            path.write_text(table(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
