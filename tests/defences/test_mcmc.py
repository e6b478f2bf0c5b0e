"""Hamiltonian Monte Carlo against closed forms; the chain as something to attack."""

import numpy as np
import tensorflow as tf

from seatbelt_tf import SeatbeltVAE, attacks
from seatbelt_tf.defences import mcmc

SHAPE = (32, 32, 1)


def _keys(rows):
    return np.stack([np.arange(rows), np.arange(rows) ** 2], axis=1).astype(np.int32)


def _gaussian_log_density(means, precision):
    def log_density(latents):
        gap = latents[0] - means
        return -0.5 * tf.reduce_sum(gap * tf.matmul(gap, precision), axis=1)

    return log_density


def test_a_chain_ends_in_the_posterior_that_it_was_not_started_in():
    rows = 1000
    covariance = np.array([[1.0, 0.6], [0.6, 0.8]], np.float32)
    means = np.array([1.0, -2.0], np.float32)
    start = np.full((rows, 2), 5.0, np.float32)
    ends = mcmc.chain(
        _gaussian_log_density(means, np.linalg.inv(covariance)),
        (tf.constant(start),),
        (tf.ones((rows, 2)),),
        step_size=0.35,
        steps=25,
        leapfrog_steps=4,
        keys=_keys(rows),
    )[0].numpy()
    # Five standard errors of 1,000 independent chains.
    np.testing.assert_allclose(ends.mean(axis=0), means, atol=5 / rows**0.5)
    np.testing.assert_allclose(np.cov(ends.T), covariance, atol=5 * 2**0.5 / rows**0.5)


def test_proposals_of_steps_that_are_too_long_are_rejected():
    start = tf.constant([[0.1, 0.2]])
    ends = mcmc.chain(
        _gaussian_log_density(0.0, 1e6 * np.eye(2, dtype=np.float32)),
        (start,),
        (tf.ones((1, 2)),),
        step_size=1.0,
        steps=3,
        leapfrog_steps=10,
        keys=_keys(1),
    )[0]
    np.testing.assert_array_equal(ends, start)


def test_a_rejected_proposal_that_overflowed_leaves_the_gradient_alone():
    model = SeatbeltVAE(
        image_shape=SHAPE,
        latent_dims=(4, 3),
        defences={"mcmc": {"chain_steps": 1, "leapfrog_steps": 8, "step_size": 20.0}},
    )
    images = tf.constant(np.random.default_rng(0).uniform(-1, 1, (2, *SHAPE)), tf.float32)

    def gradient(posteriors):
        with tf.GradientTape() as tape:
            tape.watch(images)
            total = tf.add_n([tf.reduce_sum(q.mean) for q in posteriors(images)])
        return tape.gradient(total, images)

    encoder = gradient(lambda x: model._infer(x, None).posteriors)
    assert np.abs(encoder).max() > 0
    np.testing.assert_allclose(gradient(model.posteriors), encoder, rtol=1e-5, atol=1e-7)


def _model():
    options = {"chain_steps": 2, "leapfrog_steps": 2, "step_size": 0.02}
    return SeatbeltVAE(
        image_shape=SHAPE, latent_dims=(4, 3), likelihood_scale=1.0, defences={"mcmc": options}
    )


def test_an_images_chain_depends_on_its_draws_alone_and_has_true_gradients():
    model = _model()
    images = np.random.default_rng(0).uniform(-1, 1, (4, *SHAPE)).astype(np.float32)
    noise = attacks.scoring.draw(model, 3, seed=1)
    together = model.posteriors(images, noise)
    alone = model.posteriors(images[2:3], noise)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.mean[2], other.mean[0], rtol=1e-3, atol=1e-4)
    # Draws differ, and so do their chains: the latents do not follow the noise alone.
    ends = [q.mean + q.stddev * z for q, z in zip(together, noise, strict=True)]
    assert np.std(ends[0][0], axis=0).min() > 0
    encoder = model._infer(images, None).posteriors[0]
    assert np.abs(model.encode(images)[0].mean - encoder.mean).max() > 1e-3

    direction = np.random.default_rng(1).normal(size=images.shape).astype(np.float32)
    direction /= np.linalg.norm(direction)

    def value(size):
        q = model.posteriors(tf.constant(images) + size * direction, noise)
        return tf.reduce_sum(q[0].mean) + tf.reduce_sum(q[1].mean)

    size = tf.constant(0.0)
    with tf.GradientTape() as tape:
        tape.watch(size)
        total = value(size)
    # Central differences in float32: a few parts in a hundred.
    numerical = (value(0.02) - value(-0.02)) / 0.04
    np.testing.assert_allclose(tape.gradient(total, size), numerical, rtol=0.05, atol=0.02)


def test_a_trained_model_gets_a_chain_afterwards():
    model = _model()
    plain = SeatbeltVAE(image_shape=SHAPE, latent_dims=(4, 3), likelihood_scale=1.0, seed=2)
    model.set_weights(plain.get_weights())
    images = np.random.default_rng(0).uniform(-1, 1, (2, *SHAPE)).astype(np.float32)
    same = mcmc.with_chain(plain, chain_steps=2, leapfrog_steps=2, step_size=0.02)
    np.testing.assert_array_equal(same(images), model(images))
    assert np.abs(same(images) - plain(images)).max() > 1e-3
    np.testing.assert_array_equal(mcmc.without_chain(same)(images), plain(images))


def test_a_chain_climbs_towards_the_posterior():
    model = _model()
    images = 0.5 * np.ones((3, *SHAPE), np.float32)

    def log_joint(latents):
        terms = [model.log_likelihood(images, latents)]
        for latent, (mean, stddev) in zip(latents, model.priors(latents), strict=True):
            gap = (latent - mean) / stddev
            terms.append(-tf.reduce_sum(gap**2 / 2 + tf.math.log(stddev), axis=1))
        return tf.add_n(terms).numpy()

    start = tuple(q.mean for q in model._infer(images, None).posteriors)
    assert np.all(log_joint([q.mean for q in model.encode(images)]) > log_joint(start))
