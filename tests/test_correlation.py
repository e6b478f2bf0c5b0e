"""Total correlation against loops, closed forms and exhaustive enumeration."""

import itertools

import numpy as np
import oracles
import pytest
import tensorflow as tf

from seatbelt_tf import correlation, gaussians
from seatbelt_tf.objectives import total_correlation


def _posteriors(batch, units, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    means = spread * rng.normal(size=(batch, units))
    stddevs = np.exp(0.5 * rng.normal(size=(batch, units)))
    samples = means + stddevs * rng.normal(size=(batch, units))
    return tuple(a.astype(np.float32) for a in (samples, means, stddevs))


@pytest.mark.parametrize("estimator", ["mws", "mss"])
@pytest.mark.parametrize("block_size", [None, 1, 5, 37, 64])
def test_agrees_with_float64_loops_for_every_block_size(estimator, block_size):
    arguments = _posteriors(37, 4)
    result = total_correlation(*arguments, 500, estimator, block_size)
    expected = oracles.total_correlation(*arguments, 500, estimator)
    # The bar of the specification; float32 sums of 37 terms err by about 1e-6.
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_the_only_replica_has_the_estimate_of_the_batch(estimator):
    samples, *posterior = map(tf.constant, _posteriors(37, 4))
    found = correlation.total_correlation_of_replica(
        samples, gaussians.Gaussian(*posterior), 500, estimator
    )
    expected = oracles.total_correlation(*_posteriors(37, 4), 500, estimator)
    # As above.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("estimator", ["mws", "mss"])
@pytest.mark.parametrize("block_size", [None, 7])
def test_gradients_agree_with_float64_differences(estimator, block_size):
    arguments = [tf.constant(np.float64(a)) for a in _posteriors(13, 3)]
    weights = np.linspace(-1, 2, 13)

    def weighted_sum(*arguments):
        return tf.reduce_sum(
            weights * total_correlation(*arguments, 40, estimator, block_size)
        ).numpy()

    with tf.GradientTape() as tape:
        tape.watch(arguments)
        value = tf.reduce_sum(weights * total_correlation(*arguments, 40, estimator, block_size))
    gradients = tape.gradient(value, arguments)
    rng = np.random.default_rng(3)
    for place in range(3):
        direction = rng.normal(size=(13, 3))
        moved = [
            weighted_sum(*(a + step * direction * (i == place) for i, a in enumerate(arguments)))
            for step in (1e-5, -1e-5)
        ]
        # Central differences at 1e-5 in float64 err by about 1e-10.
        np.testing.assert_allclose(
            np.sum(gradients[place] * direction), (moved[0] - moved[1]) / 2e-5, rtol=1e-6
        )


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_identical_posteriors_have_no_total_correlation(estimator):
    samples, means, stddevs = _posteriors(64, 5)
    result = total_correlation(
        samples, np.tile(means[:1], (64, 1)), np.tile(stddevs[:1], (64, 1)), 64, estimator
    )
    np.testing.assert_allclose(result, 0, atol=1e-5)


def test_separated_points_on_a_diagonal_have_the_largest_value():
    means = np.tile(np.arange(50, dtype=np.float32)[:, None], (1, 4))
    result = total_correlation(means, means, np.full_like(means, 1e-3), 50)
    # Each unit alone determines the image: log M joint, d log M for the product.
    np.testing.assert_allclose(result, 3 * np.log(50), rtol=1e-6)


def test_mss_inner_sums_are_unbiased_over_all_minibatches():
    # The second unit is the same Gaussian for every image and the third is so narrow that each
    # image is alone in it: joint = w_kk q(z_k1 | k) q_2 q_3, marginals = (Σ_j w_kj q(z_k1 | j)) q_2
    # (w_kk q_3), hence exp(−estimate) q(z_k1 | k) is the inner sum of the first unit.
    size, batch = 7, 3
    rng = np.random.default_rng(0)
    means = np.stack([rng.normal(size=size), np.zeros(size), 100.0 * np.arange(size)], axis=1)
    stddevs = np.stack([rng.uniform(0.5, 1, size), np.ones(size), np.full(size, 0.1)], axis=1)
    samples = means + 0.1 * stddevs
    densities = np.exp(-0.5 * ((samples[0, 0] - means[:, 0]) / stddevs[:, 0]) ** 2) / stddevs[:, 0]
    sums = []
    for others in itertools.combinations(range(1, size), batch - 1):
        rows = [0, *others]
        estimate = total_correlation(samples[rows], means[rows], stddevs[rows], size, "mss")[0]
        sums.append(np.exp(-estimate) * densities[0])
    np.testing.assert_allclose(np.mean(sums), densities.mean(), rtol=1e-12)


def test_mss_on_the_whole_dataset_is_mws():
    arguments = _posteriors(20, 3)
    np.testing.assert_allclose(
        total_correlation(*arguments, 20, "mss"),
        total_correlation(*arguments, 20, "mws"),
        atol=1e-5,
    )


def test_estimators_agree_as_posteriors_broaden():
    gaps = []
    for spread in (3.0, 0.3, 0.03):
        arguments = _posteriors(50, 3, spread=spread)
        stddevs = np.ones_like(arguments[1])
        samples = arguments[1] + np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
        mws, mss = (
            total_correlation(samples, arguments[1], stddevs, 10_000, estimator)
            for estimator in ("mws", "mss")
        )
        gaps.append(np.abs(mws - mss).mean())
    assert gaps[0] > 10 * gaps[1] > 10 * gaps[2]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_runs_in_a_graph_of_unknown_batch_size_and_under_xla(jit_compile):
    arguments = _posteriors(37, 4)

    def value_and_gradient(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = total_correlation(*arguments, block_size=5)
        return value, tape.gradient(value, arguments)

    compiled = tf.function(
        value_and_gradient,
        jit_compile=jit_compile,
        input_signature=[tf.TensorSpec([None, 4])] * 3,
    )
    eager = value_and_gradient(*(tf.constant(a) for a in arguments))
    for one, other in zip(
        tf.nest.flatten(eager), tf.nest.flatten(compiled(*arguments)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"means": np.zeros((5, 3), np.float32)}, "means.shape"),
        ({"samples": np.zeros(4, np.float32)}, "samples.shape"),
        ({"means": np.zeros((4, 3))}, "means.dtype"),
        ({"stddevs": np.ones((4, 3), int)}, "stddevs.dtype"),
        ({"stddevs": np.zeros((4, 3), np.float32)}, "stddevs. Expected finite numbers above 0"),
        ({"samples": np.full((4, 3), np.nan, np.float32)}, "samples. Expected finite numbers"),
        (dict.fromkeys(("samples", "means", "stddevs"), np.zeros((0, 3), np.float32)), "shape"),
        ({"estimator": "mwss"}, "for estimator. .* 'mws', 'mss' .did you mean 'mws'"),
        ({"estimator": "mss", "dataset_size": None}, "dataset_size"),
        ({"dataset_size": 3}, "dataset_size"),
        ({"dataset_size": 0}, "dataset_size"),
        ({"block_size": 0}, "block_size"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    arguments = dict(zip(("samples", "means", "stddevs"), _posteriors(4, 3), strict=True))
    arguments |= {"dataset_size": 10, "estimator": "mws", "block_size": None}
    with pytest.raises(ValueError, match=message):
        total_correlation(**(arguments | changes))
