"""Figure A.7: VAEs with two latents on the Swiss roll, which need no convolutions.

A multilayer perceptron in place of the convolutional networks; posteriors, KL and total
correlation are the package's own.
"""

import functools
import itertools
import pathlib

from trainers import kept

# (β, penalty).
MODELS = ((1.0, "kl"), *itertools.product((8.0, 32.0, 128.0), ("kl", "tc")))
BATCH_SIZE = 512
LIKELIHOOD_SCALE = 0.1
SHOWN = 2000


def files(zoo, store):
    """The models' results in the store and what makes each: dict of path to function."""
    steps, made = zoo.scale.swiss_roll_steps, {}
    for beta, penalty in MODELS:
        # Earlier files of figure "A7" have no points.
        settings = {"figure": "A7, points", "beta": beta, "penalty": penalty, "steps": steps}
        path = pathlib.Path(store) / "swiss_roll" / f"{kept.digest(settings)}.npz"
        made[path] = functools.partial(train, beta, penalty, steps)
    return made


def train(beta, penalty, steps, seed=0):
    """Trains one model.

    Args:
        beta: weight of the penalty.
        penalty: "kl" or "tc".
        steps: of Adam at 1e-3, 512 points each.
        seed: of weights, order and noise.

    Returns:
        Dict of arrays on test points: points, latents (posterior samples), reconstructions,
        angle, and mean squared_error, kl and total_correlation.
    """
    # They take seconds to load, which a plan does not need.
    import keras
    import tensorflow as tf

    from seatbelt_tf import datasets, gaussians, objectives

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
        kl = gaussians.kl(posterior, gaussians.standard(posterior.mean))
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
        "points": points.numpy(),
        "latents": latents,
        "reconstructions": rebuilt,
        "angle": labels.numpy()[:, 0],
        "squared_error": error.mean(),
        "kl": kl.mean(),
        "total_correlation": correlation.mean(),
    }


def _network(inputs, outputs, seed):
    import keras

    seeds = keras.random.SeedGenerator(seed)
    options = {"kernel_initializer": keras.initializers.HeNormal(seeds)}
    hidden = [keras.layers.Dense(128, "relu", **options) for _ in range(2)]
    return keras.Sequential(
        [keras.layers.Input((inputs,)), *hidden, keras.layers.Dense(outputs, **options)]
    )
