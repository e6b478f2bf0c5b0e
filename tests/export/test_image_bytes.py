"""Bytes signatures see what training saw."""

import numpy as np
import pytest
from serving import encode_image

from export import image_bytes
from seatbelt_tf import datasets
from seatbelt_tf.datasets import preprocessing


def config(dataset, size, channels):
    return {"data": {"name": dataset}, "model": {"image_shape": [size, size, channels]}}


def decode(images, recipe):
    """The preprocessing as a graph, which is what is exported."""
    import tensorflow as tf

    graph = tf.function(lambda encoded: image_bytes.decode(encoded, recipe), autograph=False)
    return graph(tf.constant(images)).numpy()


@pytest.mark.parametrize(
    ("dataset", "shape", "size"),
    [
        ("cifar10", (32, 32, 3), 32),
        ("celeb_a", (218, 178, 3), 64),
        ("dsprites", (64, 64, 1), 32),
        ("sprites", (64, 64, 1), 64),
    ],
)
def test_bytes_become_exactly_what_the_dataset_gives_in_training(dataset, shape, size):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    encoded = encode_image(pixels[..., 0] if shape[2] == 1 else pixels)
    recipe = image_bytes.recipe_of(config(dataset, size, shape[2]))
    trained = preprocessing.scale(preprocessing.reduce(pixels, recipe)).numpy()
    np.testing.assert_array_equal(decode([encoded], recipe)[0], trained)


def test_the_recipe_that_the_run_recorded_is_used():
    recorded = preprocessing.recipe(3, 32, crop=48)
    run = config("cifar10", 32, 3)
    run["data"]["preprocessing"] = recorded
    assert image_bytes.recipe_of(run) == recorded
    pixels = np.random.default_rng(0).integers(0, 256, (96, 70, 3)).astype(np.uint8)
    blocks = np.repeat(np.repeat(pixels[24:72, 11:59], 2, 0), 2, 1).reshape(32, 3, 32, 3, 3)
    expected = (np.floor(blocks.mean(axis=(1, 3)) + 0.5) - 127.5) / 127.5
    served = decode([encode_image(pixels)], recorded)[0]
    np.testing.assert_allclose(served, expected, rtol=0, atol=1e-6)
    run["data"]["preprocessing"] = {"crop": 48}
    with pytest.raises(ValueError, match="preprocessing"):
        image_bytes.recipe_of(run)


def test_its_description_names_the_crop_and_the_range():
    words = " ".join(image_bytes.describe(datasets.recipe("celeb_a", 32)))
    assert "central square of 148 pixels" in words
    assert "made 32x32" in words
    assert "0 becomes -1 and 255 becomes 1" in words
