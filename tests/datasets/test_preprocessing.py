"""From stored images to the model's input: exact arithmetic, the same in training and serving."""

import io

import numpy as np
import pytest
import tensorflow as tf
from oracles import area_reduce
from PIL import Image

from seatbelt_tf import datasets
from seatbelt_tf.datasets import preprocessing


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encoded(image, file_format="PNG"):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, file_format)
    return stream.getvalue()


@pytest.mark.parametrize("side", [16, 33, 48, 64, 100, 257])
@pytest.mark.parametrize("size", [32, 64])
def test_area_reduction_rounds_the_exact_mean_half_up(side, size):
    image = noise(side, side, 3)
    reduced = preprocessing.reduce(image, preprocessing.recipe(3, size)).numpy()
    # Integers below 2^53 over a common denominator: the oracle's float64 is exact to 1e-12.
    expected = np.floor(area_reduce(image.astype(float), size) + 0.5 + 1e-9)
    np.testing.assert_array_equal(reduced, expected)


def test_means_that_lie_on_a_half_are_rounded_up():
    image = np.tile([[0, 1], [0, 1]], (32, 32))[..., np.newaxis].astype(np.uint8)
    assert np.all(preprocessing.reduce(image, preprocessing.recipe(1, 32)) == 1)


def test_the_crop_is_the_central_square_and_never_more_than_the_image():
    image = noise(90, 70, 3)
    for crop, side in ((None, 70), (40, 40), (500, 70)):
        top, left = (90 - side) // 2, (70 - side) // 2
        square = image[top : top + side, left : left + side]
        np.testing.assert_array_equal(
            preprocessing.reduce(image, preprocessing.recipe(3, 32, crop)),
            preprocessing.reduce(square, preprocessing.recipe(3, 32)),
        )


def test_an_image_of_the_right_size_is_left_alone_unless_it_is_cropped():
    image = noise(32, 32, 1)
    np.testing.assert_array_equal(
        preprocessing.reduce(image, preprocessing.recipe(1, 32, crop=148)), image
    )
    cropped = preprocessing.reduce(image, preprocessing.recipe(1, 32, crop=16))
    np.testing.assert_array_equal(cropped, image[8:24, 8:24].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_is_decoded_and_reduced_as_its_pixels_are(channels):
    image, recipe = noise(50, 40, 3), preprocessing.recipe(channels, 32)
    found = preprocessing.decode(encoded(image), recipe)
    np.testing.assert_array_equal(found, preprocessing.reduce(image, recipe))
    assert found.dtype == tf.uint8


def test_colour_becomes_grey_by_the_luma_of_television_and_grey_three_channels():
    image = noise(32, 32, 3)
    grey = preprocessing.reduce(image, preprocessing.recipe(1, 32)).numpy()
    np.testing.assert_allclose(grey[..., 0], image @ [0.299, 0.587, 0.114], atol=0.5 + 1e-9)
    again = preprocessing.reduce(grey, preprocessing.recipe(3, 32))
    np.testing.assert_array_equal(again, grey.repeat(3, -1))
    np.testing.assert_array_equal(preprocessing.reduce(again, preprocessing.recipe(1, 32)), grey)


def test_binary_images_are_spread_before_they_are_reduced():
    image = np.random.default_rng(0).integers(0, 2, (64, 64, 1), np.uint8)
    parts = preprocessing.recipe(1, 32, binarise=True)
    np.testing.assert_array_equal(
        preprocessing.reduce(image, parts),
        preprocessing.reduce(image * 255, preprocessing.recipe(1, 32)),
    )


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_served_in_a_graph_are_those_decoded_for_training(file_format, channels):
    contents = [encoded(noise(40 + side, 70, 3, seed=side), file_format) for side in (0, 17)]
    parts = preprocessing.recipe(channels, 32)
    decode = preprocessing.decoder(parts)
    trained_on = np.stack([decode(content, "x") for content in contents])
    serve = tf.function(lambda strings: preprocessing.from_bytes(strings, parts))
    np.testing.assert_array_equal(serve(tf.constant(contents)), preprocessing.scale(trained_on))


def test_decoders_of_many_formats_agree_with_pillow_where_the_format_leaves_no_freedom():
    image = noise(32, 32, 3)
    decode = preprocessing.decoder(preprocessing.recipe(3, 32))
    np.testing.assert_array_equal(decode(encoded(image), "x"), image)
    palette = Image.fromarray(image).quantize(16)
    stream = io.BytesIO()
    palette.save(stream, "PNG")
    np.testing.assert_array_equal(
        decode(stream.getvalue(), "x"), np.asarray(palette.convert("RGB"))
    )


def test_undecodable_bytes_are_named():
    decode = preprocessing.decoder(preprocessing.recipe(3, 32))
    with pytest.raises(ValueError, match=r"photo\.png cannot be decoded"):
        decode(encoded(noise(32, 32, 3))[:-40], "photo.png")


@pytest.mark.parametrize("name", datasets.names())
def test_every_dataset_has_a_recipe_that_survives_json(name):
    parts = datasets.recipe(name)
    if name == "swiss_roll":
        assert parts is None
        return
    shape = datasets.info(name).shape
    assert (parts["image_size"], parts["channels"]) == (shape[0], shape[2])
    assert preprocessing.check(parts) == parts
    with pytest.raises(ValueError, match="Expected one of"):
        datasets.recipe(name, image_size=48)


def test_the_papers_crops_are_recorded():
    assert datasets.recipe("celeb_a")["crop"] == 148
    assert datasets.recipe("chairs")["crop"] == 400
    assert datasets.recipe("dsprites")["binarise"]


@pytest.mark.parametrize(
    "change",
    [{"resize": "bilinear"}, {"scale": "x / 255"}, {"crop": 0}, {"channels": 2}, {"more": 1}],
)
def test_a_recipe_of_another_kind_is_refused(change):
    with pytest.raises(ValueError, match="Invalid value for"):
        preprocessing.check(preprocessing.recipe(3, 32) | change)


@pytest.mark.parametrize("value", [None, {}, [], {"channels": 3}])
def test_what_is_no_recipe_is_refused(value):
    with pytest.raises(ValueError, match="Invalid value for preprocessing"):
        preprocessing.check(value)
