"""Ascent in balls against closed forms, and bad input. `maximum_damage` has tests of its own."""

import numpy as np
import pytest
import tensorflow as tf

from seatbelt_tf import attacks

SHAPE = (4, 4, 1)
RNG = np.random.default_rng(4)
IMAGES = RNG.uniform(-0.2, 0.2, (5, *SHAPE)).astype(np.float32)
SLOPES = RNG.normal(size=(5, *SHAPE)).astype(np.float32)


def _product(images, slopes):
    return tf.reduce_sum(images * slopes, axis=(1, 2, 3))


def test_every_row_is_raised_along_its_own_items_whatever_the_chunks():
    radius = np.linspace(0.1, 0.5, 5)
    found = attacks.maximize_in_ball(
        _product, IMAGES, radius, SLOPES, steps=30, starts=2, chunk_size=2
    )
    assert isinstance(found, attacks.Ascent)
    steepest = np.linalg.norm(SLOPES.reshape(5, -1), axis=1)
    value = np.sum(IMAGES * SLOPES, axis=(1, 2, 3))
    np.testing.assert_allclose(found.value, value + radius * steepest, rtol=1e-5)
    unit = SLOPES / steepest[:, None, None, None]
    np.testing.assert_allclose(found.distortion, radius[:, None, None, None] * unit, atol=1e-4)
    assert np.all(found.value >= found.first_value)


def test_what_is_to_be_started_from_counts_as_it_is():
    far = 0.1 * SLOPES / np.linalg.norm(SLOPES.reshape(5, -1), axis=1)[:, None, None, None]

    def bump(images, slopes):
        del slopes
        here = tf.reduce_sum(tf.square(images - (IMAGES + far)), axis=(1, 2, 3))
        return tf.exp(-1e6 * here)

    options = {"steps": 5, "starts": 1, "chunk_size": 5}
    assert np.all(attacks.maximize_in_ball(bump, IMAGES, 0.5, SLOPES, **options).value < 0.1)
    found = attacks.maximize_in_ball(bump, IMAGES, 0.5, SLOPES, initial=far, **options)
    np.testing.assert_allclose(found.value, 1, atol=1e-3)
    np.testing.assert_allclose(found.distortion, far, atol=1e-6)


def test_bounds_hold():
    found = attacks.maximize_in_ball(
        _product, IMAGES, 3.0, SLOPES, bounds=(-0.2, 0.3), steps=10, starts=1
    )
    attacked = IMAGES + found.distortion
    assert attacked.min() >= -0.2 - 1e-6
    assert attacked.max() <= 0.3 + 1e-6


def test_a_value_that_is_no_number_is_passed_on_and_harms_no_other():
    def root(images, slopes):
        values = _product(images, slopes)
        return tf.where(slopes[:, 0, 0, 0] == SLOPES[2, 0, 0, 0], np.nan, values)

    found = attacks.maximize_in_ball(root, IMAGES, 0.3, SLOPES, steps=10, starts=1)
    np.testing.assert_array_equal(np.isnan(found.value), np.arange(5) == 2)
    alone = attacks.maximize_in_ball(_product, IMAGES, 0.3, SLOPES, steps=10, starts=1)
    others = np.arange(5) != 2
    np.testing.assert_array_equal(found.distortion[others], alone.distortion[others])


def test_the_best_number_counts_where_further_steps_find_none():
    def broken(images, slopes):
        values = _product(images, slopes)
        return tf.where(values > 0.1, values * np.nan, values)

    found = attacks.maximize_in_ball(broken, IMAGES, 0.3, SLOPES, steps=10, starts=4)
    assert np.all(np.isfinite(found.value))
    np.testing.assert_allclose(found.value, _product(IMAGES + found.distortion, SLOPES), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radius": -1.0}, "radius"),
        ({"radius": np.ones(4)}, "radius"),
        ({"images": IMAGES[0]}, "images.shape"),
        ({"images": IMAGES * 10}, "images"),
        ({"steps": 0}, "steps"),
        ({"starts": 1.5}, "starts"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"seed": -1}, "seed"),
        ({"initial": IMAGES[:1]}, "initial.shape"),
    ],
)
def test_bad_input_is_named(changes, message):
    arguments = {"images": IMAGES, "radius": 1.0, "items": SLOPES} | changes
    with pytest.raises(ValueError, match=message):
        attacks.maximize_in_ball(_product, **arguments)
