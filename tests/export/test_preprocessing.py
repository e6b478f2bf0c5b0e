"""Bytes signatures see what training saw."""

import numpy as np
import pytest
from serving import encode_image, make_run

from export import preprocessing
from seatbelt_tf import datasets


def config(dataset, size, channels):
    return {"data": {"name": dataset}, "model": {"image_shape": [size, size, channels]}}


def decode(images, *arguments):
    """The preprocessing as a graph, which is what is exported."""
    import tensorflow as tf

    steps = preprocessing.of_run(config(*arguments))
    graph = tf.function(lambda encoded: preprocessing.decode(encoded, steps), autograph=False)
    return graph(tf.constant(images)).numpy()


def assert_same_pixels(served, expected):
    """The same bytes; a graph may divide by 127.5 by multiplying: one rounding."""
    np.testing.assert_allclose(served, expected, rtol=0, atol=1.2e-7)


def as_trained(dataset, image, size):
    """What `datasets` makes of one decoded image."""
    import tensorflow as tf

    from seatbelt_tf.datasets import registry

    pixels = registry.find(dataset).image(tf.constant(image), size).numpy()
    return datasets.scale(pixels.astype(np.uint8)).numpy()


@pytest.mark.parametrize(
    ("dataset", "shape", "size"),
    [
        ("cifar10", (32, 32, 3), 32),
        ("celeb_a", (218, 178, 3), 64),
        ("celeb_a", (218, 178, 3), 32),
        ("dsprites", (64, 64, 1), 64),
        ("dsprites", (64, 64, 1), 32),
    ],
)
def test_bytes_become_exactly_what_the_dataset_gives_in_training(dataset, shape, size):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    if dataset == "dsprites":
        pixels = np.uint8(pixels > 200)
    encoded = encode_image(pixels[..., 0] if shape[2] == 1 else pixels)
    served = decode([encoded], dataset, size, shape[2])
    assert_same_pixels(served[0], as_trained(dataset, pixels, size))


def test_other_images_are_cut_to_the_central_square_and_averaged_over_areas():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 100, 3)).astype(np.uint8)
    served = decode([encode_image(pixels)], "folder:photographs", 32, 3)
    blocks = pixels[:, 18:82].reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert_same_pixels(served[0], (np.round(blocks) - 127.5) / 127.5)


def test_grey_and_colour_images_become_what_the_model_has():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    served = decode([encode_image(pixels)], "cifar10", 32, 3)
    assert_same_pixels(served[0, ..., 0], (pixels - 127.5) / 127.5)
    np.testing.assert_array_equal(served[0, ..., 0], served[0, ..., 2])


@pytest.mark.parametrize(
    ("dataset", "shape"),
    [("celeb_a", (200, 200, 3)), ("celeb_a", (100, 100, 3)), ("cifar10", (31, 99, 3))],
)
def test_images_that_the_preprocessing_was_not_made_for_are_refused(dataset, shape):
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid image"):
        decode([encode_image(np.zeros(shape, np.uint8))], dataset, 32, 3)


def test_its_description_names_the_crop_and_the_range(tmp_path):
    run, _ = make_run(tmp_path / "run", "celeb_a", image_shape=(32, 32, 3), latent_dims=(2,))
    words = " ".join(preprocessing.describe(preprocessing.of_run(run.config())))
    assert "218x178" in words
    assert "central square of 148" in words
    assert "reduced to 32x32" in words
