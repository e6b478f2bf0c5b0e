"""Noise robustness, posterior widths and the mutual information gap against known answers."""

import numpy as np
import pytest
import victims

from seatbelt_tf import attacks
from seatbelt_tf.evaluation import disentanglement, noise, traverse

SHAPE = (4, 4, 1)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_noise_and_posterior_variances_add_up_in_a_copying_model(scale):
    images = np.zeros((400, 4, 4, 1), np.float32)
    found = noise.noisy_log_likelihood(victims.Copy(0.3), images, scale, draws=16)
    # -E|aε + s z|² = -16 (a² + s²); 6,400 draws that share ε within an image and z between images.
    assert found.shape == (400,)
    assert np.mean(found) == pytest.approx(-16 * (scale**2 + 0.09), rel=0.15)


def test_stddev_norms_are_those_of_the_posteriors():
    (norms,) = noise.stddev_norms(victims.Copy(0.3), np.zeros((407, 4, 4, 1)))
    np.testing.assert_allclose(norms, np.full(407, 0.3 * 4), rtol=1e-6)


def test_a_traversal_moves_the_most_informative_units_one_at_a_time():
    images = np.random.default_rng(0).normal(size=(50, 4, 4, 1)).astype(np.float32)
    stddev = np.ones(16, np.float32)
    stddev[[3, 9]] = 0.01, 0.1
    model = victims.Copy(stddev)
    model.encode = model.posteriors
    found, names = traverse(model, images, units=2, values=(-1, 0, 2))
    assert names == ["z1[3]", "z1[9]"]
    assert found.shape == (2, 3, 4, 4, 1)
    flat, first = found.reshape(2, 3, 16), images[0].reshape(16)
    for row, unit in enumerate((3, 9)):
        column = images.reshape(50, 16)[:, unit]
        expected = column.mean() + column.std() * np.array([-1, 0, 2])
        np.testing.assert_allclose(flat[row, :, unit], expected, rtol=1e-5, atol=1e-6)
        others = np.delete(np.arange(16), unit)
        np.testing.assert_array_equal(flat[row][:, others], np.tile(first[others], (3, 1)))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, *SHAPE), np.uint8), "floating-point pixels"),
        (np.zeros(SHAPE, np.float32), "Expected \\(M, 4, 4, 1\\)"),
        (np.full((2, *SHAPE), np.nan, np.float32), "finite pixels"),
        (np.zeros((0, *SHAPE), np.float32), "at least one image"),
    ],
)
def test_what_are_no_images_is_refused(images, message):
    model = victims.Copy(0.3)
    good = np.zeros((2, *SHAPE), np.float32)
    for measure in (
        lambda: noise.stddev_norms(model, images),
        lambda: noise.noisy_log_likelihood(model, images, 0.1),
        lambda: attacks.score(model, good, good, images),
        lambda: attacks.score(model, images, good, good),
    ):
        with pytest.raises(ValueError, match=message):
            measure()
    with pytest.raises(ValueError, match="as many images of each"):
        attacks.score(model, good, good, good[:1])


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="scale"):
        noise.noisy_log_likelihood(victims.Copy(0.3), np.zeros((2, 4, 4, 1)), -0.1)


def _factors(count=4000):
    return np.random.default_rng(0).integers(0, 4, (count, 2))


def test_one_latent_for_each_factor_has_a_gap_of_one_and_copies_have_none():
    factors = _factors()
    unused = np.random.default_rng(1).normal(size=len(factors))
    clean = np.column_stack([factors, unused])
    # The unused latent still shares (20 - 1)(4 - 1)/(2 · 4000) nats with a factor by chance.
    assert disentanglement.mutual_information_gap(clean, factors) == pytest.approx(1, abs=0.01)
    doubled = np.column_stack([factors, factors])
    assert disentanglement.mutual_information_gap(doubled, factors) == pytest.approx(0, abs=1e-9)


def test_a_latent_that_sees_half_of_a_factor_has_the_gap_of_its_information():
    factors = _factors(40000)[:, :1]
    latents = np.column_stack([factors[:, 0] // 2, np.zeros(len(factors))])
    # One bit of two.
    gap = disentanglement.mutual_information_gap(latents, factors)
    assert gap == pytest.approx(0.5, abs=0.01)


def test_factors_that_do_not_vary_are_left_out():
    factors = _factors()
    with_constant = np.column_stack([factors, np.ones(len(factors), int)])
    gaps = [disentanglement.mutual_information_gap(factors, f) for f in (factors, with_constant)]
    assert gaps[0] == gaps[1]


@pytest.mark.parametrize(
    ("latents", "factors", "name"),
    [
        (np.zeros((5, 1)), np.zeros((5, 2)), "latents"),
        (np.zeros(5), np.zeros((5, 2)), "latents"),
        (np.zeros((5, 2)), np.zeros((4, 2)), "factors"),
        (np.zeros((5, 2)), np.zeros((5, 2)), "varies"),
    ],
)
def test_bad_arrays_are_named(latents, factors, name):
    with pytest.raises(ValueError, match=name):
        disentanglement.mutual_information_gap(latents, factors)
