"""Figure A.7: VAEs with two latents on the Swiss roll, which need no convolutions.

A multilayer perceptron in place of the convolutional networks; posteriors, KL and total
correlation are the package's own.
"""

import functools
import itertools
import pathlib

import keras
import tensorflow as tf

from seatbelt_tf import datasets, gaussians, objectives, runs, tensors
from seatbelt_tf.figures import charts
from trainers import kept
from trainers.studies.study import Report, number

# (β, penalty).
MODELS = ((1.0, "kl"), *itertools.product((8.0, 32.0, 128.0), ("kl", "tc")))
BATCH_SIZE = 512
LIKELIHOOD_SCALE = 0.1
SHOWN = 2000


def make(zoo, store):
    """Trains what is missing in the store."""
    steps = zoo.scale.swiss_roll_steps
    for beta, penalty in MODELS:
        for missing in runs.unfinished([_path(store, beta, penalty, steps)]):
            kept.keep(missing, functools.partial(train, beta, penalty, steps))


def _path(store, beta, penalty, steps):
    settings = {"figure": "A7", "beta": beta, "penalty": penalty, "steps": steps}
    return pathlib.Path(store) / "swiss_roll" / f"{kept.digest(settings)}.npz"


def report(zoo, findings):
    """Aggregate posteriors and reconstructions, and a table of quality; None before `make`."""
    rows, groups = [], {}
    paths = {model: _path(findings.store, *model, zoo.scale.swiss_roll_steps) for model in MODELS}
    if not all(path.exists() for path in paths.values()):
        return None
    for (beta, penalty), path in paths.items():
        found = tensors.load(path)
        findings.seconds += float(found["seconds"])
        name = (
            "VAE" if beta == 1 else f"{ {'kl': 'β-VAE', 'tc': 'β-TCVAE'}[penalty] }, β = {beta:g}"
        )
        groups[f"{name}: q(z)"] = (found["latents"], found["angle"])
        groups[f"{name}: reconstructions"] = (found["reconstructions"], found["angle"])
        rows.append(
            {
                "model": name,
                "squared error": number(float(found["squared_error"])),
                "KL (nats)": number(float(found["kl"])),
                "total correlation (nats)": number(float(found["total_correlation"])),
            }
        )
    worst = [
        f"{row['model']} {row['squared error']}" for row in rows if row["model"].endswith(" 128")
    ]
    return Report(
        {"figureA7": rows},
        {"figureA7": charts.panels(charts.clouds(groups), columns=4)},
        "large β ruins the β-VAE's reconstructions, not the β-TCVAE's",
        f"squared error: {', '.join(worst)}, VAE {rows[0]['squared error']}",
    )


def train(beta, penalty, steps, seed=0):
    """Trains one model.

    Args:
        beta: weight of the penalty.
        penalty: "kl" or "tc".
        steps: of Adam at 1e-3, 512 points each.
        seed: of weights, order and noise.

    Returns:
        Dict of arrays on test points: latents (posterior samples), reconstructions, angle, and
        mean squared_error, kl and total_correlation.
    """
    encoder, decoder = _network(3, 4, seed), _network(2, 3, seed + 1)
    variables = encoder.trainable_variables + decoder.trainable_variables
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(variables)

    def terms(points, step):
        mean, raw = tf.split(encoder(points), 2, axis=1)
        posterior = gaussians.Gaussian(mean, tf.nn.softplus(raw))
        noise = tf.random.stateless_normal(tf.shape(mean), [seed, step])
        latents = posterior.mean + posterior.stddev * noise
        rebuilt = decoder(latents)
        error = tf.reduce_sum(tf.square(points - rebuilt), axis=1)
        kl = gaussians.kl(posterior, gaussians.standard(posterior))
        correlation = objectives.total_correlation(latents, *posterior)
        return latents, rebuilt, error, kl, correlation

    @tf.function
    def update(points, step):
        with tf.GradientTape() as tape:
            *_, error, kl, correlation = terms(points, step)
            penalised = {"kl": kl, "tc": correlation}[penalty]
            likelihood = -error / (2 * LIKELIHOOD_SCALE**2)
            loss = -tf.reduce_mean(likelihood - kl - (beta - 1) * penalised)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    batches = datasets.load("swiss_roll", "train", batch_size=BATCH_SIZE, seed=seed, repeat=True)
    for step, points in enumerate(batches.take(steps)):
        update(points, tf.constant(step))
    test = datasets.load("swiss_roll", "test", batch_size=SHOWN, with_labels=True)
    points, labels = next(iter(test))
    latents, rebuilt, error, kl, correlation = (value.numpy() for value in terms(points, -1))
    return {
        "latents": latents,
        "reconstructions": rebuilt,
        "angle": labels.numpy()[:, 0],
        "squared_error": error.mean(),
        "kl": kl.mean(),
        "total_correlation": correlation.mean(),
    }


def _network(inputs, outputs, seed):
    seeds = keras.random.SeedGenerator(seed)
    options = {"kernel_initializer": keras.initializers.HeNormal(seeds)}
    hidden = [keras.layers.Dense(128, "relu", **options) for _ in range(2)]
    return keras.Sequential(
        [keras.layers.Input((inputs,)), *hidden, keras.layers.Dense(outputs, **options)]
    )
