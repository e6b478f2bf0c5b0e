"""Times a training step and an encoding of every defence relative to none, in one run.

    python -m benchmarks.defences --json=results/defences_cost.json

All models get the same batch in one process, by turns, so that what else the machine does falls on
all of them alike; the median over the rounds of each one's ratio to the plain model in the same
round is reported. Models are not trained: a step takes as long whatever the weights.
"""

import datetime
import platform
import statistics
import sys
import time

import numpy as np

from benchmarks import command_line
from benchmarks.command_line import positive
from seatbelt_tf import runs
from trainers import program

SETTINGS = {
    "none": {},
    "input_noise": {"input_noise": {}},
    "variance_floor": {"variance_floor": {}},
    "learned_scale": {"learned_scale": {}},
    "smooth_encoder": {"smooth_encoder": {}},
    "adversarial shift": {"adversarial": {}},
    "adversarial target_latent": {"adversarial": {"attack": "target_latent"}},
    "lipschitz": {"lipschitz": {}},
    "lipschitz + adversarial": {"lipschitz": {}, "adversarial": {}},
    "mcmc": {"mcmc": {}},
    "pca": {"pca": {}},
}


def parse_arguments():
    """The command line."""
    parser = command_line.parser("defences", __doc__)
    parser.add_argument("--batch_size", type=positive, default=64, help="images a step (64)")
    parser.add_argument("--rounds", type=positive, default=5, help="turns of each (5)")
    parser.add_argument("--json", metavar="PATH", help="also write the figures there")
    return parser.parse_args()


def steps(defences, images):
    """The compiled training step and encoding of a model with these defences."""
    import tensorflow as tf

    from seatbelt_tf import SeatbeltVAE

    model = SeatbeltVAE(image_shape=(32, 32, 3), latent_dims=(128,), beta=1.0, defences=defences)
    model.compile(optimizer="adam")
    model.optimizer.build(model.trainable_variables)
    train = tf.function(lambda: model.train_step((images,))["loss"], autograph=False)
    encode = tf.function(lambda: model.posteriors(images)[0].mean, autograph=False)
    return train, encode


def timed(function):
    """Seconds of one call."""
    started = time.perf_counter()
    function().numpy()
    return time.perf_counter() - started


def main():
    """Measures, prints and writes."""
    arguments = parse_arguments()
    program.import_tensorflow()
    import tensorflow as tf

    pixels = np.random.default_rng(0).uniform(-1, 1, (arguments.batch_size, 32, 32, 3))
    images = tf.constant(pixels, tf.float32)
    models = {name: steps(defences, images) for name, defences in SETTINGS.items()}
    for functions in models.values():
        for function in functions:
            function()
    seconds = {name: ([], []) for name in models}
    for _ in range(arguments.rounds):
        for name, functions in models.items():
            for taken, function in zip(seconds[name], functions, strict=True):
                taken.append(timed(function))
    rows = {
        name: {
            kind: statistics.median(
                own / plain for own, plain in zip(taken, seconds["none"][place], strict=True)
            )
            for place, (kind, taken) in enumerate(
                zip(("train_step", "encode"), seconds[name], strict=True)
            )
        }
        for name in models
    }
    print(f"{'defence':28}{'train_step':>12}{'encode':>10}   times that of no defence")
    for name, row in rows.items():
        print(f"{name:28}{row['train_step']:12.2f}{row['encode']:10.2f}")
    if arguments.json:
        report = {
            "command": sys.argv,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": platform.machine(),
            "tensorflow": tf.__version__,
            "setting": f"32x32x3, 128 latents, batch of {arguments.batch_size}",
            "plain_milliseconds": {
                kind: round(1000 * statistics.median(taken), 2)
                for kind, taken in zip(("train_step", "encode"), seconds["none"], strict=True)
            },
            "ratio_to_none": {
                name: {kind: round(ratio, 2) for kind, ratio in row.items()}
                for name, row in rows.items()
            },
        }
        runs.write_json(arguments.json, report)


if __name__ == "__main__":
    main()
