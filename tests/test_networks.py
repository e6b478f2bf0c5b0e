"""The layers of our own against Keras's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from seatbelt_tf import networks

_SAME = {"strides": 2, "padding": "same"}
LAYERS = {
    "first": ("FirstConv2D", (2, 8, 8, 3), (5, 4), _SAME | {"activation": "relu"}),
    "one channel": ("SubpixelConv2DTranspose", (2, 6, 6, 5), (1, 4), _SAME),
    "three channels": ("SubpixelConv2DTranspose", (2, 6, 6, 5), (3, 4), _SAME),
    "whole image": ("WholeImageConv2D", (2, 4, 4, 5), (7, 4), {"activation": "relu"}),
    "mirror": ("WholeImageConv2DTranspose", (2, 1, 1, 5), (7, 4), {"activation": "relu"}),
    "one by one": ("WholeImageConv2DTranspose", (2, 1, 1, 5), (7, 1), {}),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_fast_layers_are_the_convolutions_that_they_replace(kind, jit_compile):
    name, shape, arguments, options = LAYERS[kind]
    ours = getattr(networks, name)(*arguments, **options)
    layer = getattr(keras.layers, type(ours).__bases__[0].__name__)(*arguments, **options)
    inputs = tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)
    layer.build(shape)
    ours.build(shape)
    parameters = [parameter + 0.1 for parameter in layer.get_weights()]
    results = []
    for each in (layer, ours):
        each.set_weights(parameters)

        @tf.function(jit_compile=jit_compile)
        def outputs_and_gradients(inputs, each=each):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = each(inputs)
                loss = tf.reduce_sum(tf.sin(outputs))
            return [outputs, *tape.gradient(loss, [inputs, *each.trainable_variables])]

        results.append(outputs_and_gradients(inputs))
    # Sums of up to 288 products in another order.
    for expected, result in zip(*results, strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_gaussian_heads_start_at_the_given_deviation():
    head = networks.GaussianHead(3, 0.1, seed=0)
    mean, stddev = head(np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32))
    np.testing.assert_allclose(stddev, np.full((4, 3), 0.1), rtol=1e-5)
    assert np.std(mean) > 0.1
