"""Total correlation of an aggregate posterior, estimated from a minibatch.

TC = KL(q(z) ‖ Π_j q(z_j)) with q(z) the mixture of the posteriors of all N training images. At a
sample z_k it is estimated by

    log Σ_j w_kj q(z_k | j)  −  Σ_u log Σ_j w_kj q(z_ku | j),

j over the M posteriors of the minibatch, u over the units, Σ_j w_kj = 1.

Weights:
    "mws" (minibatch weighted sampling; Chen et al. 2018, the paper's equation 43), normalised:
        w_kj = 1/M. The paper's 1/(NM) differs by the constant (d − 1) log N, without gradient.
    "mss" (minibatch stratified sampling; the idea of Chen et al. 2018, appendix C.2): the sample's
        own posterior is in the minibatch with certainty and counts once among N, the M − 1 others
        stand for the N − 1 remaining ones: w_kk = 1/N, w_kj = (N − 1)/(N (M − 1)). Over uniform
        draws of the others the inner sum is unbiased for q(z_k). (Chen et al. give one of the
        others a weight of its own, which depends on the order of the batch; the average of their
        weights over all orders is the above.)

Bias: "mws" counts the sample's own posterior once among M instead of N, which raises both
logarithms, the joint one more. When every posterior is narrow it tends to (d − 1) log M whatever
the true value, so the reported number is at most a lower bound then. The logarithm of an unbiased
"mss" sum is still biased low (Jensen), and when the M − 1 others say nothing about z_k it tends to
(d − 1) log N. Both biases vanish as posteriors overlap or as M grows to N, where "mss" is exact.
Below a batch of about 10·d the estimate is dominated by the sample's own posterior and penalising
it acts like a β-VAE (Mathieu et al. 2019).
"""

import math

import tensorflow as tf
from numpy.typing import ArrayLike

from seatbelt_tf import checks, presets, replicas
from seatbelt_tf.gaussians import Gaussian

# Log densities held at once when no block size is given; see benchmarks/total_correlation.py.
BLOCK_ELEMENTS = 1 << 18


def total_correlation(
    samples: ArrayLike,
    means: ArrayLike,
    stddevs: ArrayLike,
    dataset_size: int | None = None,
    estimator: str = "mws",
    block_size: int | None = None,
) -> tf.Tensor:
    """Minibatch estimate of the total correlation at each sample (module docstring; eq. 43).

    Memory is linear in M: rows are scored in blocks, which are computed again for the gradient.
    The result does not depend on the block size.

    Args:
        samples: (M, d), samples[k] drawn from Normal(means[k], stddevs[k]²).
        means: (M, d) posterior means.
        stddevs: (M, d) posterior standard deviations, positive.
        dataset_size: N ≥ M, the number of training images; "mss" needs it.
        estimator: "mws" or "mss".
        block_size: rows scored at once; by default as many as make `BLOCK_ELEMENTS` log densities.

    Returns:
        (M,) estimates in nats. M identical posteriors give 0 everywhere.

    Raises:
        ValueError: the shapes differ or are not (M, d), one or more each, or the types are not one
            floating type; values that are not finite or deviations that are not positive (of eager
            tensors); the estimator is unknown, `dataset_size` is missing for "mss" or below M, or
            the block size is not positive.
    """
    given = {"samples": samples, "means": means, "stddevs": stddevs}
    tensors = {name: tf.convert_to_tensor(values) for name, values in given.items()}
    drawn = tensors["samples"]
    for name, tensor in tensors.items():
        shape = tensor.shape
        if shape.rank != 2 or not shape.is_compatible_with(drawn.shape) or 0 in tuple(shape):
            raise checks.invalid(
                f"{name}.shape",
                f"(M, d), the same for samples {tuple(drawn.shape)}, means and stddevs",
                tuple(shape),
            )
        if not tensor.dtype.is_floating or tensor.dtype != drawn.dtype:
            received = f"{tensor.dtype.name}, samples {drawn.dtype.name}"
            raise checks.invalid(f"{name}.dtype", "one floating type for all three", received)
        if hasattr(tensor, "numpy"):
            smallest = 0.0 if name == "stddevs" else -float("inf")
            is_usable = tf.reduce_all(tf.math.is_finite(tensor) & (tensor > smallest))
            if not is_usable:
                expected = "finite numbers" + (" above 0" if name == "stddevs" else "")
                raise checks.invalid(name, expected, "others among them")
    checks.one_of("estimator", estimator, presets.TC_ESTIMATORS)
    presets.check_model_options({"tc_estimator": estimator, "dataset_size": dataset_size})
    rows = drawn.shape[0]
    if dataset_size is not None and rows is not None and dataset_size < rows:
        raise checks.invalid(
            "dataset_size", f"at least {rows}, the number of samples", dataset_size
        )
    if block_size is not None:
        checks.positive_integer("block_size", block_size)
    own = tf.range(tf.shape(drawn)[0])
    means, stddevs = tensors["means"], tensors["stddevs"]
    return _estimate(drawn, means, stddevs, own, dataset_size, estimator, block_size)


def total_correlation_of_replica(
    samples: tf.Tensor, posterior: Gaussian, dataset_size: int | None, estimator: str
) -> tf.Tensor:
    """`total_correlation` of this replica's rows within the global batch: (M, d) -> (M,), nats.

    The posteriors of all replicas are gathered, and gradients flow back through the gather.
    """
    own = replicas.row_numbers(tf.shape(samples)[0])
    means, stddevs = (replicas.gather(tensor) for tensor in posterior)
    return _estimate(samples, means, stddevs, own, dataset_size, estimator, None)


def _estimate(samples, means, stddevs, own, dataset_size, estimator, block_size):
    """(K, d) samples whose own posteriors are rows `own` (K,) of the (M, d) ones -> (K,), nats."""
    samples, means, stddevs = (
        tf.cast(t, tf.float32) if t.dtype.size < 4 else t for t in (samples, means, stddevs)
    )
    rows, batch, units = tf.shape(samples)[0], tf.shape(means)[0], samples.shape[1]
    if block_size is None:
        block_size = tf.maximum(BLOCK_ELEMENTS // tf.maximum(batch * units, 1), 1)
    block_size = tf.maximum(tf.minimum(block_size, rows), 1)
    blocks = (rows + block_size - 1) // block_size
    # The last block is filled up with repetitions of the last row, which count for nothing.
    padded = tf.range(blocks * block_size)
    block_rows = tf.reshape(tf.minimum(padded, rows - 1), [blocks, block_size])
    is_row = tf.reshape(tf.cast(padded < rows, samples.dtype), [blocks, block_size])

    @tf.custom_gradient
    def estimates(samples, means, stddevs):
        # Units first and posteriors last: the axis that is reduced lies contiguously in memory.
        mixture = _Mixture(means, stddevs)

        def energies(row_numbers):
            block_own = tf.gather(own, row_numbers)
            own_energies = _own_energies(block_own, batch, dataset_size, estimator, samples.dtype)
            return mixture.energies(tf.gather(samples, row_numbers), own_energies)

        def block_logarithms(row_numbers):
            """log Σ_j over the joint densities (b,) and over each unit's (d, b)."""
            _, by_unit, joint = energies(row_numbers)
            return _log_sum_exp_negative(joint), _log_sum_exp_negative(by_unit)

        def block_gradients(row_numbers, log_joint, log_by_unit, upstream):
            """Gradients of Σ_k upstream_k estimate_k by sample (b, d), mean and stddev (M, d)."""
            scaled, by_unit, joint = energies(row_numbers)
            by_energy = tf.exp(-log_by_unit[:, :, None] - by_unit)
            by_energy -= tf.exp(-log_joint[:, None] - joint)
            return mixture.gradients(scaled, by_energy, upstream)

        log_joint, log_by_unit = tf.map_fn(
            block_logarithms, block_rows, fn_output_signature=(samples.dtype, samples.dtype)
        )
        log_weight = _log_weight_of_others(batch, dataset_size, estimator, samples.dtype)
        values = log_joint - tf.reduce_sum(log_by_unit, axis=1) + (1.0 - units) * log_weight

        def gradient(upstream):
            def add_block(block, by_sample, by_mean, by_stddev):
                row_numbers = block_rows[block]
                sample_part, mean_part, stddev_part = block_gradients(
                    row_numbers,
                    log_joint[block],
                    log_by_unit[block],
                    tf.gather(upstream, row_numbers) * is_row[block],
                )
                return (
                    block + 1,
                    by_sample.write(block, sample_part),
                    by_mean + mean_part,
                    by_stddev + stddev_part,
                )

            start = (0, tf.TensorArray(samples.dtype, blocks), 0.0 * means, 0.0 * stddevs)
            _, by_sample, by_mean, by_stddev = tf.while_loop(
                lambda block, *_: block < blocks, add_block, start
            )
            return by_sample.concat()[:rows], by_mean, by_stddev

        return tf.reshape(values, [-1])[:rows], gradient

    return estimates(samples, means, stddevs)


class _Mixture:
    """M diagonal Gaussians of d units; energies are −log densities without (d/2) log 2π.

    The dropped constant is the same in the joint and in the marginals and cancels.
    """

    def __init__(self, means, stddevs):
        self._means = tf.transpose(means)[:, None, :]
        self._log_stddevs = tf.math.log(tf.transpose(stddevs))[:, None, :]
        self._scales = math.sqrt(0.5) / tf.transpose(stddevs)[:, None, :]

    def energies(self, samples, own_energies):
        """(b, d) samples, and what to add to each (b, M) or None ->

        w_ukj = (z_ku − m_ju)/(√2 s_ju) and the energy of each unit (d, b, M), and of all (b, M).
        """
        scaled = (tf.transpose(samples)[:, :, None] - self._means) * self._scales
        by_unit = tf.square(scaled) + self._log_stddevs
        joint = tf.reduce_sum(by_unit, axis=0)
        if own_energies is not None:
            by_unit, joint = by_unit + own_energies, joint + own_energies
        return scaled, by_unit, joint

    def gradients(self, scaled, by_energy, upstream):
        """By sample (b, d), mean (M, d) and stddev (M, d), given those by each unit's energy."""
        by_scaled = by_energy * scaled
        by_sample = tf.matmul(by_scaled, self._scales, transpose_b=True)[:, :, 0]
        weights = tf.broadcast_to(upstream, [tf.shape(scaled)[0], 1, tf.shape(scaled)[1]])
        by_mean = tf.matmul(weights, by_scaled) * self._scales
        by_log_stddev = tf.matmul(weights, by_energy) - 2 * tf.matmul(weights, by_scaled * scaled)
        by_stddev = by_log_stddev * self._scales * math.sqrt(2)
        return (
            2 * tf.transpose(by_sample * upstream),
            -2 * tf.transpose(by_mean[:, 0]),
            tf.transpose(by_stddev[:, 0]),
        )


def _log_sum_exp_negative(energies):
    """log Σ exp(−energy) over the last axis."""
    lowest = tf.reduce_min(energies, axis=-1, keepdims=True)
    return tf.math.log(tf.reduce_sum(tf.exp(lowest - energies), axis=-1)) - lowest[..., 0]


def _log_weight_of_others(batch, dataset_size, estimator, dtype):
    """log w_kj, k ≠ j, of the module docstring."""
    size = tf.cast(batch, dtype)
    if estimator == "mws":
        return -tf.math.log(size)
    total = tf.cast(dataset_size, dtype)
    others = tf.math.log((total - 1.0) / (total * tf.maximum(size - 1.0, 1.0)))
    return tf.where(size > 1, others, 0.0)


def _own_energies(own, batch, dataset_size, estimator, dtype):
    """log w_kj of the others minus log w_kj: (b,) own columns -> (b, M), or None if all 0."""
    if estimator == "mws":
        return None
    size, total = tf.cast(batch, dtype), tf.cast(dataset_size, dtype)
    difference = _log_weight_of_others(batch, dataset_size, estimator, dtype) + tf.math.log(total)
    return tf.where((own[:, None] == tf.range(batch)) & (size > 1), difference, 0.0)
