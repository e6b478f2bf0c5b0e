"""What a batch's rows need to know of `tf.distribute`: global means, gathers and row numbers.

Inside `strategy.run` every replica holds an equal part of the global batch, in replica order. In
every other context there is one replica and these functions are the plain operations.
"""

import tensorflow as tf


def _context():
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def count():
    """The number of replicas whose gradients are summed, a Python int."""
    context = _context()
    return context.num_replicas_in_sync if context else 1


def gather(tensor):
    """All replicas' rows in replica order: (M, ...) -> (R·M, ...), differentiable."""
    context = _context()
    return context.all_gather(tensor, axis=0) if context else tensor


def global_mean(tensor):
    """The mean over all replicas' rows: (M, ...) -> (...), differentiable."""
    context = _context()
    if context is None:
        return tf.reduce_mean(tensor, axis=0)
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(tensor, axis=0))
    return total / tf.cast(tf.shape(tensor)[0] * context.num_replicas_in_sync, tensor.dtype)


def everywhere(condition):
    """Whether a boolean () tensor is true on all replicas."""
    context = _context()
    if context is None:
        return condition
    failures = tf.cast(tf.logical_not(condition), tf.float32)
    return tf.equal(context.all_reduce(tf.distribute.ReduceOp.SUM, failures), 0.0)


def row_numbers(rows):
    """The places of this replica's `rows` rows in the global batch: -> (rows,) int32."""
    context = _context()
    if context is None:
        return tf.range(rows)
    return tf.cast(context.replica_id_in_sync_group, tf.int32) * rows + tf.range(rows)


def normal_noise(rows, units, seed):
    """Standard normal draws that depend on the seed and the row's place in the global batch only.

    Args:
        rows: number of rows M of this replica.
        units: number of columns d.
        seed: (2,) int32.

    Returns:
        (M, d) float32.
    """
    replicas = count()
    noise = tf.random.stateless_normal([rows * replicas, units], seed)
    return tf.gather(noise, row_numbers(rows)) if replicas > 1 else noise
