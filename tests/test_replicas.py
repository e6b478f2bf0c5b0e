"""Two replicas equal one: loss, gradients, batch statistics and noise for the same global batch."""

import subprocess
import sys

_SCRIPT = """
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from seatbelt_tf import SeatbeltVAE

images = np.random.default_rng(0).uniform(-1, 1, (12, 32, 32, 1)).astype(np.float32)

def run(strategy, estimator):
    with strategy.scope():
        model = SeatbeltVAE(image_shape=(32, 32, 1), latent_dims=(6, 4, 3), beta=6.0,
                            dataset_size=100, tc_estimator=estimator)
        # Large enough that every unit of layer 1 is below and of layer 2 above the free bits.
        model.free_bits = 2.5
        model.compile(optimizer="sgd")
        model.optimizer.build(model.trainable_variables)
    before = [v.numpy() for v in model.trainable_variables]
    model.optimizer.learning_rate = 1.0
    data = tf.data.Dataset.from_tensors(images).unbatch().batch(12)
    iterator = iter(strategy.experimental_distribute_dataset(data))

    @tf.function
    def step(batch):
        return strategy.run(model.train_step, args=((batch,),))

    step(next(iterator))
    metrics = {k: float(v) for k, v in model.get_metrics_result().items()}
    # SGD's update at rate 1 is the gradient, summed over replicas.
    gradients = [b - v.numpy() for b, v in zip(before, model.trainable_variables)]
    statistics = [v.numpy() for v in model.non_trainable_variables]
    return metrics, gradients, statistics

for estimator in ("mws", "mss"):
    one = run(tf.distribute.get_strategy(), estimator)
    two = run(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), estimator)
    for name, value in one[0].items():
        assert abs(value - two[0][name]) < 1e-5 * max(abs(value), 1), (name, value, two[0][name])
    # The specified bound; float32 sums over 12 rows in another order.
    for a, b in zip(one[1], two[1]):
        error, size = np.linalg.norm(a - b), np.linalg.norm(a)
        assert error <= 1e-5 * size, (error, size, a.shape)
    for a, b in zip(one[2], two[2]):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = SeatbeltVAE(image_shape=(32, 32, 1), latent_dims=(1,), beta=6.0)
    model.compile(optimizer="sgd")
for ask in (
    lambda: model.fit(images[:9], batch_size=8),
    lambda: model.evaluate(images[:9], batch_size=8),
    lambda: model.fit(images, batch_size=12, validation_data=images[:9], validation_batch_size=8),
):
    try:
        ask()
    except ValueError as error:
        assert "Expected batches that 2 replicas divide. Received: batch_size=8, the last 1" in (
            str(error)
        ), error
    else:
        raise AssertionError("not refused")
print("equal")
"""


def test_two_replicas_equal_one_in_loss_gradients_and_batch_statistics():
    # A process of its own: logical devices must be set before TensorFlow starts.
    result = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False
    )
    assert result.stdout.endswith("equal\n"), result.stderr[-2000:]
