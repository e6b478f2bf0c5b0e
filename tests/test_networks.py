"""The layers of our own against Keras's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from seatbelt_tf import half_precision, networks
from seatbelt_tf.defences import lipschitz_networks

_SAME = {"strides": 2, "padding": "same"}
LAYERS = {
    "plain": ("Conv2D", (2, 8, 8, 3), (5, 4), _SAME | {"activation": "relu"}),
    "transposed": ("Conv2DTranspose", (2, 6, 6, 5), (7, 4), _SAME | {"activation": "relu"}),
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


CONVOLUTIONS = {
    **{name: (networks, *row) for name, row in LAYERS.items() if "WholeImage" not in row[0]},
    "bounded": (lipschitz_networks, "LipschitzConv2D", (2, 8, 8, 4), (6, 0), {}),
    "bounded, up": (lipschitz_networks, "LipschitzConv2DTranspose", (2, 4, 4, 6), (4, 0), {}),
}


@pytest.mark.parametrize(
    ("features", "chosen", "expected"),
    [
        ("avx2", None, False),
        ("avx2", "1", False),
        ("avx2 avx512f", None, False),
        ("avx2 avx512f", "1", True),
        ("avx2 avx512f avx512_vnni", None, True),
        ("avx2 avx512f avx512_vnni", "0", False),
        ("asimd bf16", None, True),
    ],
)
def test_kernels_for_bfloat16_are_those_of_onednn(features, chosen, expected, monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda: [])
    monkeypatch.setattr(half_precision, "_processor_features", lambda: set(features.split()))
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if chosen is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", chosen)
    half_precision.has_bfloat16.cache_clear()
    try:
        assert half_precision.has_bfloat16() == expected
    finally:
        half_precision.has_bfloat16.cache_clear()


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_bfloat16_without_kernels_for_it_is_float32_rounded(kind, monkeypatch):
    monkeypatch.setattr(half_precision, "has_bfloat16", lambda: False)
    module, name, shape, arguments, options = CONVOLUTIONS[kind]
    rounded = tf.cast(tf.random.stateless_normal(shape, (0, 1)), tf.bfloat16)
    results = []
    for dtype in ("float32", "mixed_bfloat16"):
        layer = getattr(module, name)(*arguments, **options, dtype=dtype)
        layer.build(shape)
        weights = [
            0.1 * tf.random.stateless_normal(each.shape, (1, index))
            for index, each in enumerate(layer.weights)
        ]
        layer.set_weights([tf.cast(tf.cast(each, tf.bfloat16), tf.float32) for each in weights])

        @tf.function
        def outputs_and_gradients(inputs, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = layer(inputs)
                loss = tf.reduce_sum(tf.sin(tf.cast(outputs, tf.float32)))
            return [outputs, *tape.gradient(loss, [inputs, *layer.trainable_variables])]

        inputs = tf.cast(rounded, tf.float32)
        graph = outputs_and_gradients.get_concrete_function(inputs).graph
        assert {
            operation.outputs[0].dtype
            for operation in graph.get_operations()
            if operation.type.startswith("Conv2D")
        } == {tf.float32}
        results.append([tf.cast(each, tf.float32) for each in outputs_and_gradients(inputs)])
    for expected, result in zip(*results, strict=True):
        # Outputs, what comes back from them and gradients are rounded to eight bits.
        np.testing.assert_allclose(
            result, expected, rtol=0.02, atol=0.02 * np.max(np.abs(expected))
        )


def test_gaussian_heads_start_at_the_given_deviation():
    head = networks.GaussianHead(3, 0.1, seed=0)
    mean, stddev = head(np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32))
    np.testing.assert_allclose(stddev, np.full((4, 3), 0.1), rtol=1e-5)
    assert np.std(mean) > 0.1
