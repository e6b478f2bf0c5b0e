"""Step time and peak memory by batch, depth and precision; processes and Ray against one process.

    python -m benchmarks.scaling --json=results/scaling.json

Every cell is a fresh process with all of this machine's cores: the paper's model of 64×64 images,
random pixels, the fastest of a few turns of `SeatbeltVAE.train_step`. Peak memory is the process's
own, above what it held with the model built and no step taken. The other parts are whole programs:
`trainers.train` in one process and in two with the same global batch, half of the cores each; and a
study by `trainers.reproduce` with two processes and on a Ray cluster of two nodes of this machine.
"""

import contextlib
import importlib.util
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

from benchmarks import command_line, results
from benchmarks.command_line import positive
from benchmarks.models import compiled_model
from benchmarks.processes import in_fresh_process, peak_bytes
from seatbelt_tf import presets, runs
from trainers import program

PROGRAM = "python -m benchmarks.scaling"
BATCHES = (64, 256, 1024, 4096)
LAYERS = (1, 2, 3, 4, 5)
SIZES = {1: "dsprites", 3: "celeb_a"}
TURNS = 3
# Global batches of the trainings by processes, which exchange 5 million gradients a step.
PROCESS_BATCHES = (256, 1024)
STUDY = ("--experiment=figure5",)
# Steps a turn: enough images that a turn takes about a second.
IMAGES_A_TURN = 1024


def parse_arguments():
    parser = command_line.parser("scaling", __doc__)
    parser.add_argument(
        "--batch_size", type=positive, nargs="+", default=BATCHES, help="images a step"
    )
    parser.add_argument(
        "--layers", type=int, nargs="+", default=LAYERS, choices=LAYERS, help="values of L"
    )
    parser.add_argument(
        "--images", type=positive, default=51_200, help="of a training by processes"
    )
    parser.add_argument("--json", metavar="PATH", help="also write the figures there, and a table")
    return parser.parse_args()


def measure(batch_size, layers, dtype, channels=1):
    """One cell, in a process of its own: dict of images a second, peak bytes and the first loss."""
    program.import_tensorflow()
    import tensorflow as tf

    shape = (64, 64, channels)
    dims = presets.preset_sizes(SIZES[channels], layers).latent_dims
    model = compiled_model(shape, dims, dtype)
    images = tf.random.stateless_uniform((batch_size, *shape), (1, 2), -1, 1)
    before = peak_bytes()

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
        "channels": channels,
        "dtype": dtype,
        "step_seconds": min(seconds),
        "images_per_second": batch_size / min(seconds),
        "peak_bytes": peak_bytes() - before,
        "first_loss": first,
    }


def train_by_processes(workers, batch_size, steps, directory):
    """Median images a second of a training by one or more processes, L = 4."""
    sockets = [socket.socket() for _ in range(workers)]
    for opened in sockets:
        opened.bind(("localhost", 0))
    addresses = [f"localhost:{opened.getsockname()[1]}" for opened in sockets]
    for opened in sockets:
        opened.close()
    run = runs.Run(pathlib.Path(directory) / f"{workers}_{batch_size}")
    command = [sys.executable, "-m", "trainers.train", "--noreport", "--layers=4"]
    command += [f"--batch_size={batch_size}", f"--steps={steps}", f"--run={run.path}"]
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
    statuses = [process.wait() for process in processes]
    if any(statuses):
        sys.exit(f"{PROGRAM}: a training failed: see above")
    # The first report waited for the step to be traced.
    rates = sorted(run.read_metrics()["images_per_second"][1:])
    return rates[len(rates) // 2]


def study(executor, directory):
    """Seconds of a study of 4 small models, two at once; Ray's cluster is there before."""
    command = [sys.executable, "-m", "trainers.reproduce", "--scale=smoke", *STUDY]
    command += [f"--store={directory}/{executor}", f"--results={directory}/{executor}_results"]
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1"}
    with contextlib.ExitStack() as stack:
        if executor == "ray":
            from ray.cluster_utils import Cluster

            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
            stack.callback(cluster.shutdown)
            for _ in range(2):
                cluster.add_node(num_cpus=1)
            command += ["--executor=ray", f"--ray_address={cluster.address}"]
        else:
            command += ["--executor=processes", "--workers=2"]
        start = time.perf_counter()
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def table(figures):
    """The figures in Markdown."""
    lines = [
        f"Written by `python -m benchmarks.scaling` on {figures['machine']}, load "
        f"{figures['load'][0]:.1f} at the start. Loss: relative difference from float32 at the "
        "first step.",
        "",
        "| channels | L | batch | precision | ms a step | images/s | peak MB | loss |",
        "|---|---|---|---|---|---|---|---|",
    ]
    exact = {_sizes(cell): cell for cell in figures["cells"] if cell["dtype"] == "float32"}
    for cell in figures["cells"]:
        peer = exact.get(_sizes(cell), cell)["first_loss"]
        lines.append(
            f"| {cell['channels']} | {cell['layers']} | {cell['batch_size']} | {cell['dtype']} "
            f"| {1e3 * cell['step_seconds']:,.0f} | {cell['images_per_second']:,.0f} "
            f"| {cell['peak_bytes'] / 1e6:,.0f} | {abs(cell['first_loss'] / peer - 1):.0e} |"
        )
    lines += ["", "| compared | | | ratio |", "|---|---|---|---|"]
    for each in figures["processes"]:
        one, two = each["images_per_second"]
        lines.append(
            f"| training, global batch {each['batch_size']} | one process {one:,.0f} images/s "
            f"| two {two:,.0f} | {two / one:.2f} |"
        )
    here, remote = (figures["study_seconds"][executor] for executor in ("processes", "ray"))
    lines += [
        f"| study of 4 models, two at once | processes {here:,.0f} s "
        f"| Ray {remote:,.0f} s | {remote / here:.2f} |",
    ]
    return "\n".join(lines) + "\n"


def _sizes(cell):
    return cell["channels"], cell["layers"], cell["batch_size"]


def main():
    arguments = parse_arguments()
    if importlib.util.find_spec("ray") is None:
        program.fail(PROGRAM, "Ray is not installed: pip install -e '.[ray]'")
    figures = {
        **results.described(arguments),
        "load": os.getloadavg(),
        "cells": [],
    }
    sizes = [(batch, 4, 1) for batch in arguments.batch_size]
    sizes += [(256, layers, 1) for layers in arguments.layers if layers != 4]
    cells = [(batch, layers, "float32", channels) for batch, layers, channels in sizes]
    cells += [(256, 4, "float32", 3)] + [(256, 4, "mixed_bfloat16", count) for count in (1, 3)]
    for cell in cells:
        figures["cells"].append(in_fresh_process(measure, *cell))
        print(figures["cells"][-1], flush=True)
    with tempfile.TemporaryDirectory() as directory:
        figures["processes"] = [
            {
                "batch_size": batch,
                "images_per_second": [
                    train_by_processes(workers, batch, arguments.images // batch, directory)
                    for workers in (1, 2)
                ],
            }
            for batch in PROCESS_BATCHES
        ]
        figures["study_seconds"] = {
            executor: study(executor, directory) for executor in ("processes", "ray")
        }
    print(table(figures))
    if arguments.json:
        results.write(arguments.json, figures, table(figures))


if __name__ == "__main__":
    main()
