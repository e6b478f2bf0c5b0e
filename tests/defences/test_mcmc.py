"""Hamiltonian Monte Carlo against closed forms; the chain as something to attack."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

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


def test_a_chain_is_that_of_the_textbook_with_the_same_draws():
    rows, steps, size = 40, 6, 1.6
    precision = np.array([[1.0, 0.3], [0.3, 0.9]])
    start = np.random.default_rng(0).normal(size=(rows, 2)).astype(np.float32)
    scales = np.random.default_rng(1).uniform(0.5, 1.2, (rows, 2)).astype(np.float32)
    ends = mcmc.chain(
        _gaussian_log_density(0.0, precision.astype(np.float32)),
        (tf.constant(start),),
        (tf.constant(scales),),
        step_size=size,
        steps=steps,
        leapfrog_steps=3,
        keys=_keys(rows),
    )[0]
    draws, expected, accepted = mcmc._draws(_keys(rows), steps, 3).numpy(), np.float64(start), []
    for row, step in np.ndindex(rows, steps):
        scale, position = np.float64(scales[row]), expected[row].copy()
        momentum = np.float64(draws[row, step, 1:])
        energy = position @ precision @ position / 2 + momentum @ momentum / 2
        for _ in range(3):
            momentum -= size / 2 * scale * (precision @ position)
            position += size * scale * momentum
            momentum -= size / 2 * scale * (precision @ position)
        after = position @ precision @ position / 2 + momentum @ momentum / 2
        accepted.append(np.exp(energy - after) > stats.norm.cdf(draws[row, step, 0]))
        if accepted[-1]:
            expected[row] = position
    assert 0.3 < np.mean(accepted) < 0.9
    np.testing.assert_allclose(ends, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("precision", "leapfrog_steps"), [(1e2, 3), (1e6, 10)])
def test_proposals_of_steps_that_are_too_long_are_rejected(precision, leapfrog_steps):
    # By their energy, and since they leave what is finite.
    start = tf.constant([[0.1, 0.2]])
    ends = mcmc.chain(
        _gaussian_log_density(0.0, precision * np.eye(2, dtype=np.float32)),
        (start,),
        (tf.ones((1, 2)),),
        step_size=1.0,
        steps=3,
        leapfrog_steps=leapfrog_steps,
        keys=_keys(1),
    )[0]
    np.testing.assert_array_equal(ends, start)


def test_a_chain_that_overflows_changes_no_other_and_goes_on_from_where_it_was():
    start = tf.constant([[0.3, -0.2], [0.3, -0.2], [0.1, 0.5]])
    scales = tf.constant([[1.0, 1.0], [1e7, 1e7], [0.5, 0.5]])

    def ends_and_gradients(rows):
        own, sizes = tf.gather(start, rows), tf.gather(scales, rows)
        with tf.GradientTape() as tape:
            tape.watch((own, sizes))
            (ends,) = mcmc.chain(
                _gaussian_log_density(0.0, np.eye(2, dtype=np.float32)),
                (own,),
                (sizes,),
                step_size=0.3,
                steps=3,
                leapfrog_steps=4,
                keys=tf.gather(_keys(3), rows),
            )
        return [ends, *tape.gradient(ends, (own, sizes))]

    together = ends_and_gradients([0, 1, 2])
    for row in range(3):
        for value, alone in zip(together, ends_and_gradients([row]), strict=True):
            np.testing.assert_allclose(value[row], alone[0], rtol=1e-5, atol=1e-6)
    ends, from_start, from_scales = (value.numpy() for value in together)
    np.testing.assert_array_equal([ends[1], from_start[1]], [start[1], [1, 1]])
    np.testing.assert_array_equal(from_scales[1], [0, 0])
    assert np.abs(ends - start)[[0, 2]].min() > 1e-3


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
