"""One training on several devices or processes: strategies, and what all workers must agree on.

Every worker takes the same steps and the same decisions; those that depend on one of them alone
(a signal, a clock) are summed over all first. Worker 0, the chief, alone reads and writes files.
"""

import hashlib
import json
import time

import numpy as np
import tensorflow as tf

from seatbelt_tf import checks
from trainers import interruption, program

# Of the data: what decides the numbers (what they are called and where they lie may differ).
_AGREED = ("fingerprint", "image_size", "preprocessing")
# A connection may be lost a little before its process ends.
_SECONDS_TO_VANISH = 10.0


def make_strategy(name, batch_size, parts=1, xla=False):
    """A `tf.distribute.Strategy` by the name that --strategy has; TF_CONFIG must have been checked.

    Args:
        name: "default", "mirrored" (all of this machine's devices) or "multi_worker".
        batch_size: images in a global batch.
        parts: in which every replica computes its own.
        xla: whether the step is to be compiled with XLA.

    Raises:
        ValueError: the batch cannot be divided by the replicas, or there is no XLA.
    """
    if xla:
        _check_xla()
    if name == "default":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        strategy = tf.distribute.MirroredStrategy()
    else:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        # TensorFlow has put a handler of its own in the place of ours.
        interruption.take_signals()
    replicas = strategy.num_replicas_in_sync
    if batch_size % (replicas * parts):
        raise checks.invalid(
            "batch_size", f"a multiple of {replicas} replicas × {parts} parts", batch_size
        )
    return strategy


def _check_xla():
    try:
        tf.function(lambda: tf.constant(1.0) + 1.0, jit_compile=True)()
    except tf.errors.OpError as error:
        reason = error.message.split("\n")[0]
        raise checks.invalid("xla", f"false: XLA is not available here ({reason})", True) from error


def is_chief(strategy):
    """Whether this process is the one that reads and writes files."""
    return strategy.extended.should_checkpoint


def is_default(strategy):
    """Whether there is nothing but this process and one device."""
    return strategy is tf.distribute.get_strategy()


def batches(strategy, load, batch_size):
    """An iterator of distributed batches: the same images whatever the number of replicas.

    Args:
        strategy: a `tf.distribute.Strategy`.
        load: function of part=(i, n) -> the `tf.data.Dataset` of those parts of all batches.
        batch_size: images in a global batch.
    """

    def part(context):
        dataset = load(part=(context.input_pipeline_id, context.num_input_pipelines))
        replicas = strategy.num_replicas_in_sync
        if replicas == context.num_input_pipelines:
            return dataset
        return dataset.rebatch(batch_size // replicas, drop_remainder=True)

    return iter(strategy.distribute_datasets_from_function(part))


def total(strategy, value):
    """The sum of a () float tensor over all replicas, for all of them to see."""
    return strategy.reduce("SUM", strategy.run(lambda: tf.identity(value)), axis=None)


def share(strategy, arrays):
    """The chief's arrays on every worker.

    Args:
        strategy: a `tf.distribute.Strategy`.
        arrays: list of NumPy arrays; only the chief's values matter.

    Returns:
        List of NumPy arrays of the same shapes and types.
    """
    if is_default(strategy):
        return arrays

    @tf.function(autograph=False)
    def summed(*own):
        def masked(*tensors):
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            return [tf.where(tf.equal(index, 0), t, tf.zeros_like(t)) for t in tensors]

        of_replicas = strategy.run(masked, args=own)
        return [strategy.reduce("SUM", tensor, axis=None) for tensor in of_replicas]

    return [tensor.numpy() for tensor in summed(*map(tf.constant, arrays))]


def check_agreement(strategy, config, cluster):
    """Refuses, on every worker, to train unless all have the same settings and images.

    Args:
        strategy: a `tf.distribute.Strategy`.
        config: this worker's configuration.
        cluster: see `training.train`.

    Raises:
        ValueError: they differ.
        program.StopError: a worker was lost.
    """
    own = agreed(config)
    count = tf.function(lambda value: total(strategy, value), autograph=False)
    try:
        differs = np.any(share(strategy, [own])[0] != own)
        is_refused = float(count(tf.constant(float(differs))))
    except tf.errors.OpError as error:
        if cluster is None:
            raise
        raise program.StopError(lost(cluster, error), program.WORKER_LOST) from error
    if is_refused:
        raise checks.invalid(
            "options",
            "the same on all workers, and the same images",
            "others here" if differs else "others elsewhere",
        )


def agreed(config):
    """A hash of what all workers must have in common: (6,) int32."""
    data = {name: config["data"].get(name) for name in _AGREED}
    text = json.dumps([config["model"], config["training"], data], sort_keys=True)
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:6], np.uint8).astype(np.int32)


def copy(model, plain):
    """Sets the weights of a model outside of a strategy to those of one inside it."""
    if plain is not model:
        plain.set_weights(model.get_weights())


def lost(cluster, error):
    """Why the workers cannot go on together, in words: who is gone."""
    deadline = time.monotonic() + _SECONDS_TO_VANISH
    while not (names := [cluster.name(index) for index in cluster.absent()]):
        if time.monotonic() > deadline:
            # Some have no message.
            reason = (error.message or type(error).__name__).splitlines()[0]
            return f"the workers lost each other ({reason})"
        time.sleep(0.2)
    return f"{', '.join(names)} was lost; all workers must be started again"
