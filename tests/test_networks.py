"""The layers of our own against Keras's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from seatbelt_tf import networks


@pytest.mark.parametrize("filters", [1, 3])
def test_subpixel_layer_is_the_transposed_convolution_with_its_gradients(filters):
    inputs = tf.constant(np.random.default_rng(0).normal(size=(2, 6, 6, 5)), tf.float32)
    weights = np.random.default_rng(1).normal(size=(2, 12, 12, filters))
    results = []
    layer = keras.layers.Conv2DTranspose(filters, 4, strides=2, padding="same")
    ours = networks.SubpixelConv2DTranspose(filters, 4, strides=2, padding="same")
    layer.build(inputs.shape)
    ours.build(inputs.shape)
    parameters = [parameter + 0.3 for parameter in layer.get_weights()]
    for each in (layer, ours):
        each.set_weights(parameters)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = each(inputs)
            loss = tf.reduce_sum(outputs * weights)
        results.append([outputs, *tape.gradient(loss, [inputs, *each.trainable_variables])])
    # Sums of up to 288 products in another order.
    for expected, result in zip(*results, strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_gaussian_heads_start_at_the_given_deviation():
    head = networks.GaussianHead(3, 0.1, seed=0)
    mean, stddev = head(np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32))
    np.testing.assert_allclose(stddev, np.full((4, 3), 0.1), rtol=1e-5)
    assert np.std(mean) > 0.1
    assert networks.GaussianHead.from_config(head.get_config()).get_config() == head.get_config()
