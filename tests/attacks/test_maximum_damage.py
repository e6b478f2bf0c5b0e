"""The untargeted attack against closed forms, planted faults and bad input."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import victims

from seatbelt_tf import SeatbeltVAE, attacks, gaussians
from seatbelt_tf.attacks import scoring

SHAPE = (4, 4, 1)


def _images(count=5, size=0.2):
    rng = np.random.default_rng(1)
    return rng.uniform(-size, size, (count, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize("ancestors", ["mean", "sample"])
def test_damage_of_a_linear_model_is_the_radius_times_its_largest_singular_value(ancestors):
    victim, radius = victims.Linear(units=5), np.linspace(0.1, 0.5, 5)
    found = attacks.maximum_damage(victim, _images(), radius, ancestors=ancestors)
    largest = np.linalg.svd(victim.encoder @ victim.decoder)[1][0]
    np.testing.assert_allclose(found.damage, radius * largest, rtol=1e-3)
    np.testing.assert_allclose(found.distortion_norm, radius, rtol=1e-4)
    latent = attacks.maximum_damage(victim, _images(), radius, "latent_kl", ancestors=ancestors)
    largest = np.linalg.svd(victim.encoder)[1][0]
    np.testing.assert_allclose(latent.damage, (radius * largest / 0.5) ** 2 / 2, rtol=1e-3)


def test_a_decoder_in_half_precision_is_measured_in_single():
    keras.utils.set_random_seed(0)
    pixels = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(pixels)
    encoder = keras.Model(pixels, (keras.layers.Dense(2)(flat), keras.layers.Dense(2)(flat)))
    layers = [keras.layers.Dense(16, dtype="mixed_bfloat16"), keras.layers.Reshape(SHAPE)]
    layers[1] = keras.layers.Reshape(SHAPE, dtype="mixed_bfloat16")
    decoder = keras.Sequential(layers)
    victim = attacks.Victim(encoder=encoder, decoder=decoder, likelihood_scale=0.1)
    found = attacks.maximum_damage(victim, _images(2), 0.5, steps=3, starts=1)
    assert found.damage.dtype == np.float32
    assert np.all(found.damage > 0)


def test_the_box_binds():
    victim = victims.Linear(units=5)
    images = np.sign(_images()).astype(np.float32)
    found = attacks.maximum_damage(victim, images, 0.5)
    assert np.all(np.abs(found.adversarial) <= 1)
    assert np.all(found.distortion_norm <= 0.5 * (1 + 1e-6))
    # No feasible direction of many does more.
    rng = np.random.default_rng(2)
    inward = -np.sign(images[:, None]) * np.abs(rng.normal(size=(5, 2000, *SHAPE)))
    flat = inward.reshape(5, 2000, 16)
    flat *= 0.5 / np.linalg.norm(flat, axis=2, keepdims=True)
    random = np.linalg.norm(flat @ victim.encoder @ victim.decoder, axis=2).max(axis=1)
    assert np.all(found.damage > random)


def test_damage_to_a_surrogate_transfers():
    class Rounded(victims.Linear):
        """Its gradients are 0."""

        def mean(self, images):
            return tf.round(1e3 * super().mean(images)) / 1e3

    victim, smooth = Rounded(units=5), victims.Linear(units=5)
    alone = attacks.maximum_damage(victim, _images(), 0.5, steps=5, starts=2)
    victim.surrogate = lambda: smooth
    found = attacks.maximum_damage(victim, _images(), 0.5, steps=5, starts=2)
    expected = attacks.maximum_damage(smooth, _images(), 0.5, steps=5, starts=2)
    assert np.all(alone.damage < 0.9 * expected.damage)
    np.testing.assert_allclose(found.damage, expected.damage, rtol=0.01)


def test_damage_that_fits_the_attackers_draws_is_less_by_fresh_ones():
    class Spread(victims.Copy):
        """z = x · (a draw): a distortion moves it by d times the draw, pixel by pixel."""

        def posteriors(self, images, noise=None):
            means = tf.zeros_like(self.mean(images))
            self.stddev = tf.reshape(images, [-1, 16])
            posterior = gaussians.Gaussian(means, self.stddev)
            if noise is None:
                return (posterior,)
            draws = len(noise[0])
            return (gaussians.Gaussian(*(tf.repeat(t[:, None], draws, axis=1) for t in posterior)),)

    found = attacks.maximum_damage(Spread(1.0), _images(), 0.1, ancestors="sample", draws=1)
    # The largest of the attacker's sixteen draws, against the mean square of as many fresh ones.
    (noise,) = scoring.draw(Spread(1.0), 1, 1, scoring.ATTACKS)
    pixel = int(np.argmax(np.abs(noise)))
    np.testing.assert_allclose(found.damage, 0.1 * np.abs(noise[0, pixel]), rtol=0.01)
    (fresh,) = scoring.draw(Spread(1.0), 16, 1)
    expected = 0.1 * np.sqrt(np.mean(np.square(fresh[:, pixel])))
    np.testing.assert_allclose(found.fresh_damage, expected, rtol=0.05)
    assert np.all(found.fresh_damage < 0.8 * found.damage)


def test_more_starts_only_help_and_damage_is_what_the_model_shows():
    model = SeatbeltVAE(image_shape=(32, 32, 1), latent_dims=(4, 3), seed=1)
    rng = np.random.default_rng(3)
    images = rng.uniform(-1, 1, (3, 32, 32, 1)).astype(np.float32)
    found = attacks.maximum_damage(model, images, 2.0, steps=10, starts=2)
    assert isinstance(found, attacks.Damage)
    assert np.all(found.damage >= found.first_damage)
    np.testing.assert_array_equal(found.fresh_damage, found.damage)
    shift = np.reshape(model(found.adversarial) - model(images), (3, -1))
    np.testing.assert_allclose(np.linalg.norm(shift, axis=1), found.damage, rtol=1e-3)
    random = rng.normal(size=images.shape).astype(np.float32)
    random *= 2 / np.linalg.norm(random.reshape(3, -1), axis=1)[:, None, None, None]
    ordinary = model(np.clip(images + random, -1, 1)) - model(images)
    assert np.all(found.damage > 2 * np.linalg.norm(np.reshape(ordinary, (3, -1)), axis=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radius": 0.0}, "radius"),
        ({"radius": np.ones(4)}, "radius"),
        ({"radius": np.nan}, "radius"),
        ({"damage": "reconstructions"}, "did you mean 'reconstruction'"),
        ({"ancestors": "fresh"}, "ancestors"),
        ({"images": np.full((2, *SHAPE), 2.0, np.float32)}, "images"),
        ({"steps": 0}, "steps"),
        ({"starts": 0}, "starts"),
        ({"bounds": (1.0, -1.0)}, "bounds"),
        ({"seed": "0", "ancestors": "sample"}, "seed"),
    ],
)
def test_bad_input_is_named(changes, message):
    arguments = {"victim": victims.Linear(units=5), "images": _images(2), "radius": 1.0} | changes
    with pytest.raises(ValueError, match=message):
        attacks.maximum_damage(**arguments)
