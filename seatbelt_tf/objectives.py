"""The training objective: ELBO terms of a hierarchical VAE and the total correlation of its top.

The paper's equation 9, maximised: mean over the batch of log p(x, z)/q(z | x) − (β − 1) TC(z^L).
Sums run over pixels and units, means only over the (global) batch; all numbers are in nats.
"""

from typing import NamedTuple

import tensorflow as tf

from seatbelt_tf import checks, gaussians, replicas
from seatbelt_tf.correlation import total_correlation, total_correlation_of_replica
from seatbelt_tf.presets import KL_ESTIMATORS

__all__ = ["ObjectiveTerms", "total_correlation"]


class ObjectiveTerms(NamedTuple):
    """Every term of the objective, by name.

    Attributes:
        loss: () what training minimises on this replica: summed over the replicas, it is the
            negative objective with free bits and the β penalty.
        elbo: (M,) evidence lower bound without penalty or free bits, mixed estimator unless the
            sampled one was asked for, nats.
        log_likelihood: (M,) log p(x | z), nats.
        kl: tuple of (M,) KL terms by layer, bottom first, as estimated for the loss, nats.
        total_correlation: (M,) estimate of TC(z^L) at each row's sample, nats.
    """

    loss: tf.Tensor
    elbo: tf.Tensor
    log_likelihood: tf.Tensor
    kl: tuple[tf.Tensor, ...]
    total_correlation: tf.Tensor


def log_likelihood(images, means, scale):
    """log Normal(x; mean, scale² I) summed over pixels: two (M, H, W, C) -> (M,), nats.

    Args:
        images: (M, H, W, C) observed images.
        means: (M, H, W, C) decoded means.
        scale: the likelihood's standard deviation, in pixel units ([-1, 1]).
    """
    means = tf.cast(means, tf.float32)
    density = gaussians.log_density_by_unit(
        images, gaussians.Gaussian(means, tf.convert_to_tensor(scale))
    )
    return tf.reduce_sum(density, axis=[1, 2, 3])


def divergences_by_unit(posteriors, priors, samples, estimator="mixed"):
    """The KL term of every layer and unit (three estimators; the paper's equation 25).

    Args:
        posteriors: tuple over layers, bottom first, of `Gaussian`s (M, d_i): q(z^i | z^(i-1), x).
        priors: tuple of `Gaussian`s (M, d_i): p(z^i | z^(i+1)), the last one Normal(0, I).
        samples: tuple of (M, d_i): the z^i at which all of them were computed.
        estimator: "sampled": log q(z^i)/p(z^i) at the samples, so that the log-likelihood minus
            the sum is log p(x, z)/q(z | x) exactly; "mixed": the same below the top, the top's KL
            to its prior in closed form (unbiased, less variance); "analytic": every layer's KL in
            closed form, as the paper's appendix has it. The last is not the ELBO when
            q(z^(i+1) | z^i, x) depends on z^i.

    Returns:
        A tuple of (M, d_i) tensors, nats.
    """
    checks.one_of("estimator", estimator, KL_ESTIMATORS)
    top = len(samples) - 1
    terms = []
    for layer, (posterior, prior, sample) in enumerate(
        zip(posteriors, priors, samples, strict=True)
    ):
        if estimator == "analytic" or (estimator == "mixed" and layer == top):
            terms.append(gaussians.kl_by_unit(posterior, prior))
        else:
            terms.append(
                gaussians.log_density_by_unit(sample, posterior)
                - gaussians.log_density_by_unit(sample, prior)
            )
    return tuple(terms)


def elbo_estimator(kl_estimator):
    """The estimator of the reported ELBO: as for the loss, but "mixed" where that is "analytic"."""
    return "mixed" if kl_estimator == "analytic" else kl_estimator


def elbo_divergence(inference, kl_estimator):
    """What the reported ELBO takes off the log-likelihood: an `Inference` -> (M,) nats."""
    terms = divergences_by_unit(
        inference.posteriors,
        inference.priors,
        inference.samples,
        elbo_estimator(kl_estimator),
    )
    return tf.add_n([tf.reduce_sum(term, axis=-1) for term in terms])


def free_bits(divergence, minimum):
    """Σ_j max(minimum, mean over the batch of KL_j) (Kingma et al. 2016): (M, d) -> (), nats.

    The mean is over the global batch when called in a replica context. A minimum of 0 leaves the
    sum as it is: an estimate of a KL can be negative.
    """
    means = replicas.global_mean(divergence)
    return tf.reduce_sum(tf.maximum(means, minimum) if minimum > 0 else means)


def evaluate_objective(
    images,
    inference,
    decoded,
    *,
    beta,
    penalty,
    likelihood_scale,
    kl_estimator,
    tc_estimator,
    free_bits_minimum,
    dataset_size,
):
    """Every term of the objective for one batch (or one replica's part of it).

    Args:
        images: (M, H, W, C) float32 in [-1, 1].
        inference: an `Inference`: posteriors, samples and priors by layer.
        decoded: (M, H, W, C) means of p(x | z) at the samples.
        beta: weight β of the penalised term.
        penalty: "tc": loss = −ELBO + (β − 1) TC(z^L); "kl": loss = −log-likelihood + β KL.
        likelihood_scale: standard deviation of p(x | z).
        kl_estimator: see `divergences_by_unit`.
        tc_estimator: see `total_correlation`.
        free_bits_minimum: nats a unit on the layers below the top (none on the top itself).
        dataset_size: number of training images N.

    Returns:
        `ObjectiveTerms`.
    """
    likelihood = log_likelihood(images, decoded, likelihood_scale)
    divergences = divergences_by_unit(
        inference.posteriors, inference.priors, inference.samples, kl_estimator
    )
    reported = divergences
    if elbo_estimator(kl_estimator) != kl_estimator:
        reported = divergences_by_unit(
            inference.posteriors,
            inference.priors,
            inference.samples,
            elbo_estimator(kl_estimator),
        )
    elbo = likelihood - tf.add_n([tf.reduce_sum(term, axis=-1) for term in reported])
    correlation = total_correlation_of_replica(
        inference.samples[-1], inference.posteriors[-1], dataset_size, tc_estimator
    )
    divergence_loss = tf.add_n(
        [free_bits(term, free_bits_minimum) for term in divergences[:-1]]
        + [free_bits(divergences[-1], 0.0)]
    )
    loss = -replicas.global_mean(likelihood)
    loss += divergence_loss * (beta if penalty == "kl" else 1.0)
    if penalty == "tc" and beta != 1.0:
        loss += (beta - 1.0) * replicas.global_mean(correlation)
    return ObjectiveTerms(
        loss=loss / replicas.count(),
        elbo=elbo,
        log_likelihood=likelihood,
        kl=tuple(tf.reduce_sum(term, axis=-1) for term in divergences),
        total_correlation=correlation,
    )
