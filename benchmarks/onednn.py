"""Times training, attacks and encoding with oneDNN and without it, relative to each other.

    python -m benchmarks.onednn --json=results/onednn.json

TensorFlow uses oneDNN of itself only on processors with AVX-512 VNNI or newer, our programs on all
(TF_ENABLE_ONEDNN_OPTS). Which is settled when TensorFlow is loaded: each way has a process of its
own; they take turns, on the same batch. The median over the turns of the ratio in the same turn is
reported.
"""

import contextlib
import functools
import multiprocessing
import os
import statistics

import numpy as np

from benchmarks import command_line, models, results, turns
from benchmarks.command_line import positive
from benchmarks.half_precision import MODELS
from trainers import program
from trainers.studies.tables import markdown

MEASURES = ("training step", "training step, bfloat16", "evaluation of an attack", "encoding")
WAYS = {"with": "1", "without": "0"}
_functions = {}


def parse_arguments():
    """The command line."""
    parser = command_line.parser("onednn", __doc__)
    parser.add_argument("--batch_size", type=positive, default=64, help="images a step")
    parser.add_argument("--turns", type=positive, default=7, help="of each way")
    parser.add_argument("--json", metavar="PATH", help="also write the figures there, and a table")
    return parser.parse_args()


def prepare(value, batch_size):
    """Compiles what is timed in this process: of every model, as `MEASURES`."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = value
    program.import_tensorflow()
    import tensorflow as tf

    # Functions of one name look like one that is traced again and again.
    tf.get_logger().setLevel("ERROR")
    for name, (shape, dims) in MODELS.items():
        pixels = np.random.default_rng(0).uniform(-1, 1, (batch_size, *shape))
        images = tf.constant(pixels, tf.float32)
        for measure, function in zip(MEASURES, _compiled(shape, dims, images), strict=True):
            _functions[name, measure] = function


def _compiled(shape, dims, images):
    import tensorflow as tf

    from seatbelt_tf.attacks.problem import Problem

    model, half = (
        models.compiled_model(shape, dims, dtype) for dtype in ("float32", "mixed_bfloat16")
    )
    problem = Problem(model, "latent_kl", "all", "mean", 1, 0, False)
    prepare, evaluate = (
        problem.compiled(method) for method in (problem.prepare, problem.value_and_gradient)
    )
    target = prepare(images[::-1])
    return (
        tf.function(lambda: model.train_step((images,))["loss"], autograph=False),
        tf.function(lambda: half.train_step((images,))["loss"], autograph=False),
        lambda: evaluate(images, target)[1],
        models.compiled_encoding(model, images),
    )


def seconds_of(key):
    """Of one call of what is compiled in this process."""
    return turns.once(_functions[key])


def seconds_of_all(batch_size, count):
    """Dict of (model, measure, one of `WAYS`) to (count,) seconds."""
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        pools = {
            way: stack.enter_context(context.Pool(1, prepare, (value, batch_size)))
            for way, value in WAYS.items()
        }
        timed = {
            (name, measure, way): functools.partial(pool.apply, seconds_of, ((name, measure),))
            for name in MODELS
            for measure in MEASURES
            for way, pool in pools.items()
        }
        return turns.seconds(timed, count, timed=lambda measured: measured())


def table(figures):
    """The figures in Markdown."""
    head = (
        f"Written by `python -m benchmarks.onednn` on {figures['machine']}, "
        f"{figures['processor']}: batches of {figures['arguments']['batch_size']}; times without "
        "oneDNN, relative to those with it.\n\n"
    )
    rows = [
        {
            "model": row["model"],
            "what": row["measure"],
            "with oneDNN, ms": f"{row['milliseconds']:.0f}",
            "without": f"{row['ratio']:.2f}",
        }
        for row in figures["times"]
    ]
    return head + markdown(rows)


def main():
    """Measures, prints and writes."""
    arguments = parse_arguments()
    seconds = seconds_of_all(arguments.batch_size, arguments.turns)
    figures = {
        **results.described(arguments),
        "times": [
            {
                "model": name,
                "measure": measure,
                "milliseconds": 1e3 * statistics.median(seconds[name, measure, "with"]),
                "ratio": turns.ratio(*(seconds[name, measure, way] for way in ("without", "with"))),
            }
            for name in MODELS
            for measure in MEASURES
        ],
    }
    results.tell(arguments, figures, table)


if __name__ == "__main__":
    main()
