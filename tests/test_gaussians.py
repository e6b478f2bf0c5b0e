"""Closed forms against TFP, float64 NumPy and Monte Carlo; norms and their gradients at 0."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from seatbelt_tf import gaussians
from seatbelt_tf.gaussians import Gaussian


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return tuple(
        Gaussian(
            rng.normal(size=(5, 3)).astype(np.float32),
            rng.uniform(0.2, 2.0, size=(5, 3)).astype(np.float32),
        )
        for _ in range(2)
    )


def _monte_carlo(first, second, draws=100_000):
    """Mean of log q/p over draws of q, and its standard error, in float64."""
    rng = np.random.default_rng(1)
    z = first.mean + first.stddev * rng.normal(size=(draws, *first.mean.shape))

    def log_density(g):
        return (-0.5 * ((z - g.mean) / g.stddev) ** 2 - np.log(g.stddev)).sum(-1)

    ratios = log_density(first) - log_density(second)
    return ratios.mean(0), ratios.std(0) / np.sqrt(draws)


def test_kl_is_the_closed_form_and_the_monte_carlo_mean(pair):
    first, second = pair
    m1, s1, m2, s2 = (np.float64(a) for a in (*first, *second))
    expected = (np.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5).sum(-1)
    result = gaussians.kl(first, second).numpy()
    # float32 sums of three terms of size up to 100.
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    mean, error = _monte_carlo(first, second)
    assert np.all(np.abs(result - mean) < 4 * error)


def test_a_sum_over_units_is_the_divergence_and_densities_are_scipys(pair):
    first, second = pair
    by_unit = gaussians.kl_by_unit(first, second)
    assert by_unit.shape == (5, 3)
    np.testing.assert_allclose(np.sum(by_unit, axis=1), gaussians.kl(first, second), rtol=1e-6)
    expected = stats.norm.logpdf(second.mean, first.mean, first.stddev)
    found = gaussians.log_density_by_unit(second.mean, first)
    # float32 squares of distances of up to 15 standard deviations.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_wasserstein2_is_the_distance_of_sorted_draws(pair):
    # In one dimension the optimal coupling pairs the quantiles, so the distance between products
    # is the root of the summed squared distances of sorted draws.
    first, second = pair
    rng = np.random.default_rng(2)
    draws = [np.sort(g.mean + g.stddev * rng.normal(size=(100_000, 5, 3)), axis=0) for g in pair]
    expected = np.sqrt(((draws[0] - draws[1]) ** 2).mean(0).sum(-1))
    # The sampling error of a mean of 1e5 draws of stddev at most 2 is about 0.006.
    np.testing.assert_allclose(gaussians.wasserstein2(first, second), expected, atol=0.03)
    np.testing.assert_allclose(
        gaussians.squared_wasserstein2(first, second),
        np.square(gaussians.wasserstein2(first, second)),
        rtol=1e-6,
    )


def test_half_precision_parameters_are_computed_in_float32(pair):
    half = [Gaussian(*(tf.cast(t, tf.bfloat16) for t in g)) for g in pair]
    full = [Gaussian(*(tf.cast(t, tf.float32) for t in g)) for g in half]
    assert gaussians.kl(*half).dtype == tf.float32
    np.testing.assert_array_equal(gaussians.kl(*half), gaussians.kl(*full))


def test_safe_norm_is_the_norm_and_has_gradient_zero_at_zero():
    vectors = tf.constant([[3.0, 4.0], [0.0, 0.0], [1e-30, 0.0], [1e30, 1e30]])
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        norms = gaussians.safe_norm(vectors)
    np.testing.assert_allclose(norms, [5.0, 0.0, 1e-30, np.sqrt(2) * 1e30], rtol=1e-6)
    expected = [[0.6, 0.8], [0, 0], [1, 0], [0.5**0.5, 0.5**0.5]]
    np.testing.assert_allclose(tape.gradient(norms, vectors), expected, rtol=1e-6)


def test_roots_of_what_is_no_number_are_none():
    assert np.isnan(gaussians.safe_sqrt(tf.constant(np.nan)))
    assert np.isnan(gaussians.safe_norm(tf.constant([np.nan, 1.0])))


def test_safe_sqrt_has_gradient_zero_at_zero_also_behind_a_square():
    value = tf.constant([0.0, 4.0])
    with tf.GradientTape() as tape:
        tape.watch(value)
        root = gaussians.safe_sqrt(tf.square(value))
    np.testing.assert_allclose(root, [0, 4])
    np.testing.assert_allclose(tape.gradient(root, value), [0, 1])
    doubled = tf.function(gaussians.safe_sqrt)(tf.constant([0.0, 4.0], tf.float64))
    np.testing.assert_array_equal(doubled, [0.0, 2.0])


def test_wasserstein2_of_equal_gaussians_has_gradient_zero(pair):
    mean = tf.constant(pair[0].mean)
    with tf.GradientTape() as tape:
        tape.watch(mean)
        distance = gaussians.wasserstein2(Gaussian(mean, pair[0].stddev), pair[0])
    np.testing.assert_array_equal(distance, np.zeros(5))
    np.testing.assert_array_equal(tape.gradient(distance, mean), np.zeros((5, 3)))
