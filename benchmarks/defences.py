"""Times a training step and an encoding with every defence relative to none, in one run.

    python -m benchmarks.defences --json=results/defences_cost.json

All models get the same batch in one process, by turns, so that what else the machine does falls on
all of them alike; the median over the turns of each one's ratio to the plain model in the same turn
is reported. Models are not trained: a step takes as long whatever the weights.
"""

import statistics

import numpy as np

from benchmarks import command_line, models, results, turns
from benchmarks.command_line import positive
from seatbelt_tf import presets
from trainers import program
from trainers.studies.tables import markdown

# Of CIFAR-10's models in the trial of defences.
_ONE, _WIDE, _FOUR = (64,), (256,), presets.preset_sizes("cifar10", 4).latent_dims
# Name -> (units by layer, defences).
SETTINGS = {
    "none": (_ONE, {}),
    "none, four times the units": (_WIDE, {}),
    "none, four layers": (_FOUR, {}),
    "input_noise": (_ONE, {"input_noise": {}}),
    "variance_floor": (_ONE, {"variance_floor": {}}),
    "learned_scale": (_ONE, {"learned_scale": {}}),
    "smooth_encoder": (_ONE, {"smooth_encoder": {}}),
    **{
        f"adversarial, {attack}": (_ONE, {"adversarial": {"attack": attack}})
        for attack in ("shift", "divergence", "target", "target_latent")
    },
    "adversarial, shift, four layers (`robust_adversarial`)": (_FOUR, {"adversarial": {}}),
    "lipschitz": (_ONE, {"lipschitz": {}}),
    "lipschitz + adversarial": (_ONE, {"lipschitz": {}, "adversarial": {}}),
    "mcmc": (_ONE, {"mcmc": {}}),
    "pca": (_ONE, {"pca": {}}),
    "pca, four times the units (`robust_pca`)": (_WIDE, {"pca": {}}),
}
MEASURES = ("training step", "encoding")


def parse_arguments():
    """The command line."""
    parser = command_line.parser("defences", __doc__)
    parser.add_argument("--batch_size", type=positive, default=64, help="images a step")
    parser.add_argument("--turns", type=positive, default=9, help="of each model")
    parser.add_argument("--json", metavar="PATH", help="also write the figures there, and a table")
    return parser.parse_args()


def functions(latent_dims, defences, images):
    """The compiled training step and encoding of a model with these defences, as `MEASURES`."""
    import tensorflow as tf

    from seatbelt_tf import SeatbeltVAE

    model = SeatbeltVAE(
        image_shape=(32, 32, 3), latent_dims=latent_dims, beta=1.0, defences=defences
    )
    model.compile(optimizer="adam")
    model.optimizer.build(model.trainable_variables)
    train = tf.function(lambda: model.train_step((images,))["loss"], autograph=False)
    return train, models.compiled_encoding(model, images)


def seconds_of_all(batch_size, count):
    """Dict of setting and one of `MEASURES` to (count,) seconds."""
    program.import_tensorflow()
    import tensorflow as tf

    # Functions of one name look like one that is traced again and again.
    tf.get_logger().setLevel("ERROR")
    pixels = np.random.default_rng(0).uniform(-1, 1, (batch_size, 32, 32, 3))
    images = tf.constant(pixels, tf.float32)
    timed = {
        (name, measure): function
        for name, setting in SETTINGS.items()
        for measure, function in zip(MEASURES, functions(*setting, images), strict=True)
    }
    return turns.seconds(timed, count)


def table(figures):
    """The figures in Markdown."""
    milliseconds = " and ".join(
        f"{value:.0f} ms for {'a' if name == MEASURES[0] else 'an'} {name}"
        for name, value in figures["milliseconds_without"].items()
    )
    head = (
        f"Written by `python -m benchmarks.defences` on {figures['machine']}: "
        f"{figures['setting']}; times that of no defence, which takes {milliseconds}.\n\n"
    )
    rows = [
        {"defence": name} | {measure: f"{ratio:.2f}" for measure, ratio in ratios.items()}
        for name, ratios in figures["ratio_to_none"].items()
    ]
    return head + markdown(rows)


def main():
    """Measures, prints and writes."""
    arguments = parse_arguments()
    seconds = seconds_of_all(arguments.batch_size, arguments.turns)
    figures = {
        **results.described(arguments),
        "setting": f"32x32x3 images, 64 latents unless said, batches of {arguments.batch_size}",
        "milliseconds_without": {
            measure: 1e3 * statistics.median(seconds["none", measure]) for measure in MEASURES
        },
        "ratio_to_none": {
            name: {
                measure: turns.ratio(seconds[name, measure], seconds["none", measure])
                for measure in MEASURES
            }
            for name in SETTINGS
        },
    }
    results.tell(arguments, figures, table)


if __name__ == "__main__":
    main()
