"""Times a training step in float32, in bfloat16, and in bfloat16 rounded from float32.

    python -m benchmarks.half_precision --json=results/half_precision.json

"kernels" computes convolutions and their gradients in bfloat16, "rounded" in float32 between
roundings (`seatbelt_tf.half_precision`); which of the two a model takes depends on the processor.
All steps of a model get the same batch in one process, by turns; the median over the turns of each
one's ratio to float32 in the same turn is reported.
"""

import statistics

import numpy as np

from benchmarks import command_line, models, results, turns
from benchmarks.command_line import positive
from trainers import program
from trainers.studies.tables import markdown

MODELS = {
    "32x32x3, one layer": ((32, 32, 3), (64,)),
    "64x64x1, L = 4": ((64, 64, 1), (48, 24, 12, 6)),
}
# Name -> (dtype, whether TensorFlow is taken to have kernels for bfloat16).
STEPS = {
    "float32": ("float32", True),
    "bfloat16, kernels": ("mixed_bfloat16", True),
    "bfloat16, rounded": ("mixed_bfloat16", False),
}


def parse_arguments():
    """The command line."""
    parser = command_line.parser("half_precision", __doc__)
    parser.add_argument("--batch_size", type=positive, default=64, help="images a step")
    parser.add_argument("--turns", type=positive, default=7, help="of each step")
    parser.add_argument("--json", metavar="PATH", help="also write the figures there, and a table")
    return parser.parse_args()


def seconds_of_steps(shape, dims, batch_size, count):
    """Dict of the names of `STEPS` to (count,) seconds of a model's training step."""
    import tensorflow as tf

    from seatbelt_tf import half_precision

    pixels = np.random.default_rng(0).uniform(-1, 1, (batch_size, *shape))
    images = tf.constant(pixels, tf.float32)

    def traced(dtype, has_kernels):
        model = models.compiled_model(shape, dims, dtype)
        step = tf.function(lambda: model.train_step((images,))["loss"], autograph=False)
        half_precision.has_bfloat16 = lambda: has_kernels
        return step.get_concrete_function()

    return turns.seconds({name: traced(*options) for name, options in STEPS.items()}, count)


def table(figures):
    """The figures in Markdown."""
    head = (
        f"Written by `python -m benchmarks.half_precision` on {figures['machine']}, "
        f"{figures['processor']}, whose bfloat16 TensorFlow "
        f"{'has' if figures['has_bfloat16'] else 'has no'} kernels for: a training step of "
        f"{figures['arguments']['batch_size']} images, times that in float32.\n\n"
    )
    rows = [
        {"model": name, "float32, ms": f"{found['float32_milliseconds']:.0f}"}
        | {step: f"{ratio:.2f}" for step, ratio in found["ratio_to_float32"].items()}
        for name, found in figures["models"].items()
    ]
    return head + markdown(rows)


def main():
    """Measures, prints and writes."""
    arguments = parse_arguments()
    program.import_tensorflow()
    import tensorflow as tf

    from seatbelt_tf import half_precision

    # Functions of one name look like one that is traced again and again.
    tf.get_logger().setLevel("ERROR")
    has_bfloat16 = half_precision.has_bfloat16()
    found = {}
    for name, (shape, dims) in MODELS.items():
        seconds = seconds_of_steps(shape, dims, arguments.batch_size, arguments.turns)
        found[name] = {
            "float32_milliseconds": 1e3 * statistics.median(seconds["float32"]),
            "ratio_to_float32": {
                step: turns.ratio(values, seconds["float32"])
                for step, values in seconds.items()
                if step != "float32"
            },
        }
    figures = {
        **results.described(arguments),
        "has_bfloat16": has_bfloat16,
        "models": found,
    }
    results.tell(arguments, figures, table)


if __name__ == "__main__":
    main()
