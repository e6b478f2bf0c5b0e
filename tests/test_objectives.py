"""KL estimators on linear-Gaussian hierarchies with the exact posterior, and the terms' algebra."""

import numpy as np
import oracles
import pytest
import tensorflow as tf

from seatbelt_tf import objectives
from seatbelt_tf.gaussians import Gaussian
from seatbelt_tf.model import Inference

NOISE = 0.5


def _hierarchy_draw(layers, draws, seed):
    """Images, inference and decoded means of three independent one-unit hierarchies side by side.

    With one unit a layer the exact posterior is a diagonal Gaussian; three hierarchies, each with
    four pixels of its own, make three units a layer. Each image is drawn `draws` times.
    """
    parts = [oracles.LinearGaussianHierarchy((1,) * layers, 4, NOISE, seed + k) for k in range(3)]
    rng = np.random.default_rng(seed)
    images, evidence, posteriors, samples, priors, decoded = [], 0.0, [], [], [], []
    for part in parts:
        x = np.repeat(part.sample(5, seed), draws, axis=0)
        images.append(x)
        evidence = evidence + part.log_evidence(x)
        z, q = [], []
        for layer in range(layers):
            mean, variance = part.posterior_given_below(layer, z, x)
            stddev = np.broadcast_to(np.sqrt(variance[0]), mean.shape)
            q.append((mean, stddev))
            z.append(mean + stddev * rng.normal(size=mean.shape))
        p = [part.prior(layer, z[layer + 1]) for layer in range(layers - 1)]
        p.append((np.zeros_like(z[-1]), np.ones_like(z[-1])))
        posteriors.append(q)
        samples.append(z)
        priors.append(p)
        decoded.append(part.decode(z))

    def join(by_part, layer, field=None):
        values = [part[layer] if field is None else part[layer][field] for part in by_part]
        return tf.constant(np.concatenate(values, axis=1))

    inference = Inference(
        tuple(Gaussian(join(posteriors, k, 0), join(posteriors, k, 1)) for k in range(layers)),
        tuple(join(samples, k) for k in range(layers)),
        tuple(Gaussian(join(priors, k, 0), join(priors, k, 1)) for k in range(layers)),
    )
    images, decoded = (np.concatenate(a, axis=1)[:, :, None, None] for a in (images, decoded))
    return images, inference, decoded, evidence


def _elbo(images, inference, decoded, estimator):
    """log p(x | z) minus the KL terms of an estimator, in float64, (M,)."""
    density = -0.5 * ((images - decoded) / NOISE) ** 2 - np.log(NOISE * np.sqrt(2 * np.pi))
    terms = objectives.divergences_by_unit(
        inference.posteriors, inference.priors, inference.samples, estimator
    )
    return density.sum((1, 2, 3)) - sum(term.numpy().sum(1) for term in terms)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_sampled_form_is_the_evidence_for_every_draw_of_the_exact_posterior(layers):
    *draw, evidence = _hierarchy_draw(layers, draws=20, seed=0)
    np.testing.assert_allclose(_elbo(*draw, "sampled"), evidence, rtol=1e-9)


@pytest.mark.parametrize("layers", [2, 3])
def test_mixed_form_is_the_evidence_in_expectation_and_the_appendix_form_is_not(layers):
    draws = 20_000
    *draw, evidence = _hierarchy_draw(layers, draws, seed=1)
    for estimator, is_unbiased in (("mixed", True), ("analytic", False)):
        errors = (_elbo(*draw, estimator) - evidence).reshape(5, draws)
        # Four standard errors of the mean of 20,000 independent draws.
        bound = 4 * errors.std(1) / np.sqrt(draws) + 1e-9
        assert np.all(np.abs(errors.mean(1)) < bound) == is_unbiased


def test_single_precision_keeps_the_evidence_to_the_specified_error():
    images, inference, decoded, evidence = _hierarchy_draw(3, draws=20, seed=2)
    single = tf.nest.map_structure(lambda t: tf.cast(t, tf.float32), inference)
    terms = objectives.divergences_by_unit(*single[::2], single.samples, "sampled")
    likelihood = objectives.log_likelihood(np.float32(images), np.float32(decoded), NOISE)
    elbo = likelihood - sum(tf.reduce_sum(term, axis=1) for term in terms)
    np.testing.assert_allclose(elbo, evidence, rtol=1e-5)


def _evaluate(**changes):
    images, inference, decoded, _ = _hierarchy_draw(3, draws=2, seed=3)
    options = {
        "beta": 1.0,
        "penalty": "tc",
        "likelihood_scale": NOISE,
        "kl_estimator": "mixed",
        "tc_estimator": "mws",
        "free_bits_minimum": 0.0,
        "dataset_size": 100,
    }
    single = tf.nest.map_structure(lambda t: tf.cast(t, tf.float32), inference)
    return objectives.evaluate_objective(
        tf.cast(images, tf.float32), single, tf.cast(decoded, tf.float32), **(options | changes)
    )


def test_every_term_has_a_name_and_a_row_an_image():
    terms = _evaluate()
    assert isinstance(terms, objectives.ObjectiveTerms)
    assert terms.elbo.shape == terms.log_likelihood.shape == terms.total_correlation.shape == (10,)
    assert [kl.shape for kl in terms.kl] == [(10,)] * 3


def test_without_penalty_the_loss_is_the_negative_mean_elbo():
    terms = _evaluate()
    np.testing.assert_allclose(terms.loss, -np.mean(terms.elbo), rtol=1e-6)
    np.testing.assert_allclose(terms.elbo, terms.log_likelihood - sum(terms.kl), rtol=1e-6)


def test_tc_penalty_adds_beta_minus_one_times_the_mean_total_correlation():
    plain, penalised = _evaluate(), _evaluate(beta=6.0)
    np.testing.assert_allclose(
        penalised.loss - plain.loss, 5 * np.mean(plain.total_correlation), rtol=1e-4
    )


def test_kl_penalty_adds_beta_minus_one_times_every_layers_kl():
    plain, penalised = _evaluate(), _evaluate(beta=6.0, penalty="kl")
    np.testing.assert_allclose(penalised.loss - plain.loss, 5 * np.mean(sum(plain.kl)), rtol=1e-4)


def test_free_bits_change_the_loss_below_the_top_only_and_never_the_reported_kl():
    plain, floored = _evaluate(), _evaluate(free_bits_minimum=50.0)
    # Every lower unit's mean KL is far below 50 nats, so each of the 2 × 3 units costs 50.
    expected = plain.loss - np.mean(sum(plain.kl[:-1])) + 2 * 3 * 50.0
    np.testing.assert_allclose(floored.loss, expected, rtol=1e-5)
    np.testing.assert_array_equal(floored.elbo, plain.elbo)
    np.testing.assert_array_equal(floored.kl, plain.kl)


def test_appendix_form_is_never_reported_as_elbo():
    np.testing.assert_array_equal(_evaluate(kl_estimator="analytic").elbo, _evaluate().elbo)
    assert np.any(_evaluate(kl_estimator="analytic").loss != _evaluate().loss)


def test_free_bits_floor_each_unit_at_the_batch_mean():
    divergence = tf.constant([[0.0, 1.0], [0.1, 3.0]])
    np.testing.assert_allclose(objectives.free_bits(divergence, 0.125), 0.125 + 2.0)


def test_log_likelihood_of_a_perfect_reconstruction_is_the_normalising_constant():
    images = tf.zeros((2, 64, 64, 1))
    # The best possible on sprites of 64 × 64: 4096 × 1.3836 = 5,667 nats.
    np.testing.assert_allclose(
        objectives.log_likelihood(images, images, 0.1), [4096 * 1.3836466] * 2, rtol=1e-6
    )


def test_unknown_estimator_is_refused():
    images, inference, decoded, _ = _hierarchy_draw(1, 1, 0)
    with pytest.raises(ValueError, match="Invalid value for estimator"):
        _elbo(images, inference, decoded, "exact")
