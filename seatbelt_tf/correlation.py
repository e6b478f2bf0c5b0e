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

import tensorflow as tf

from seatbelt_tf import checks, presets, replicas

# Log densities held at once when no block size is given; see benchmarks/total_correlation.py.
BLOCK_ELEMENTS = 1 << 18


def total_correlation(samples, means, stddevs, dataset_size=None, estimator="mws", block_size=None):
    """Minibatch estimate of the total correlation at each sample (module docstring; eq. 43).

    Memory is linear in M: rows are scored in blocks, which are computed again for the gradient.
    The result does not depend on the block size.

    Args:
        samples: (M, d), samples[k] drawn from Normal(means[k], stddevs[k]²).
        means: (M, d) posterior means.
        stddevs: (M, d) posterior standard deviations, positive.
        dataset_size: N ≥ M, the number of training images; "mss" needs it.
        estimator: "mws" or "mss".
        block_size: rows scored at once; by default as many as make about a million log densities.

    Returns:
        (M,) estimates in nats. M identical posteriors give 0 everywhere.

    Raises:
        ValueError: the shapes differ or are not (M, d), the estimator is unknown, `dataset_size`
            is missing for "mss" or below M, or the block size is not positive.
    """
    samples, means, stddevs = (tf.convert_to_tensor(t) for t in (samples, means, stddevs))
    for name, tensor in (("samples", samples), ("means", means), ("stddevs", stddevs)):
        if tensor.shape.rank != 2 or not tensor.shape.is_compatible_with(samples.shape):
            raise checks.invalid(
                f"{name}.shape",
                f"(M, d), the same for samples {tuple(samples.shape)}, means and stddevs",
                tuple(tensor.shape),
            )
    presets.check_model_options({"tc_estimator": estimator, "dataset_size": dataset_size})
    rows = samples.shape[0]
    if dataset_size is not None and rows is not None and dataset_size < rows:
        raise checks.invalid(
            "dataset_size", f"at least {rows}, the number of samples", dataset_size
        )
    if block_size is not None:
        checks.positive_integer("block_size", block_size)
    own = tf.range(tf.shape(samples)[0])
    return _estimate(samples, means, stddevs, own, dataset_size, estimator, block_size)


def total_correlation_of_replica(samples, posterior, dataset_size, estimator):
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

    def log_terms(row_numbers):
        """(z_ku − m_ju)/s_ju, log w_kj q(z_k | j) and log w_kj q(z_ku | j) of b rows k.

        Without the factor (2π)^(-d/2), which is the same in both logarithms and cancels.
        """
        standardised = (tf.gather(samples, row_numbers)[:, None] - means) / stddevs
        log_weights = _log_weights(
            tf.gather(own, row_numbers), batch, dataset_size, estimator, samples.dtype
        )
        by_unit = -0.5 * tf.square(standardised) - tf.math.log(stddevs)
        return (
            standardised,
            tf.reduce_sum(by_unit, axis=2) + log_weights,
            by_unit + log_weights[:, :, None],
        )

    def block_estimates(row_numbers):
        _, joint, by_unit = log_terms(row_numbers)
        marginals = tf.reduce_logsumexp(by_unit, axis=1)
        return tf.reduce_logsumexp(joint, axis=1) - tf.reduce_sum(marginals, axis=1)

    def block_gradients(row_numbers, upstream):
        """Gradients of Σ_k upstream_k estimate_k: (b, d) by sample, (M, d) by mean and stddev."""
        standardised, joint, by_unit = log_terms(row_numbers)
        by_density = tf.nn.softmax(joint, axis=1)[:, :, None] - tf.nn.softmax(by_unit, axis=1)
        by_mean = upstream[:, None, None] * by_density * standardised / stddevs
        by_stddev = upstream[:, None, None] * by_density * (standardised**2 - 1) / stddevs
        return (
            -tf.reduce_sum(by_mean, axis=1),
            tf.reduce_sum(by_mean, axis=0),
            tf.reduce_sum(by_stddev, axis=0),
        )

    @tf.custom_gradient
    def estimates(samples, means, stddevs):
        values = tf.map_fn(block_estimates, block_rows, fn_output_signature=samples.dtype)

        def gradient(upstream):
            def add_block(block, by_sample, by_mean, by_stddev):
                row_numbers = block_rows[block]
                block_upstream = tf.gather(upstream, row_numbers) * is_row[block]
                sample_part, mean_part, stddev_part = block_gradients(row_numbers, block_upstream)
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


def _log_weights(own, batch, dataset_size, estimator, dtype):
    """log w_kj of the module docstring: (b,) own columns -> (b, M)."""
    size = tf.cast(batch, dtype)
    if estimator == "mws":
        return tf.fill([tf.shape(own)[0], batch], -tf.math.log(size))
    total = tf.cast(dataset_size, dtype)
    others = tf.math.log((total - 1.0) / (total * tf.maximum(size - 1.0, 1.0)))
    is_own = own[:, None] == tf.range(batch)
    return tf.where(is_own, tf.where(size > 1, -tf.math.log(total), 0.0), others)
