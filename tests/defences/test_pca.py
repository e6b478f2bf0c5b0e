"""The principal components as an encoder: against NumPy, in training, saved, attacked."""

import keras
import numpy as np
import pytest

from seatbelt_tf import SeatbeltVAE, attacks
from seatbelt_tf.defences import pca

pytestmark = pytest.mark.filterwarnings("ignore:A batch of .* is too small")

SHAPE = (32, 32, 1)
RNG = np.random.default_rng(0)
# Images in a space of 40 directions of falling weight, far from the ends of the box.
DIRECTIONS = np.linalg.qr(RNG.normal(size=(1024, 40)))[0] * np.geomspace(3, 0.1, 40)


def _images(count, seed):
    weights = np.random.default_rng(seed).normal(size=(count, 40))
    return (0.1 + weights @ DIRECTIONS.T).clip(-1, 1).astype(np.float32).reshape(-1, *SHAPE)


TRAIN = _images(400, 1)


def _model(latent_dims=(6,), **options):
    model = SeatbeltVAE(
        image_shape=SHAPE, latent_dims=latent_dims, beta=1.0, defences={"pca": {}, **options}
    )
    model.adapt(TRAIN)
    return model


def test_the_means_are_standardised_principal_components_and_the_start_their_projection():
    model, images = _model(), _images(50, 2)
    flat, train = (np.float64(each).reshape(len(each), -1) for each in (images, TRAIN))
    centre = train.mean(0)
    _, values, directions = np.linalg.svd(train - centre, full_matrices=False)
    scales = values[:6] / np.sqrt(len(train) - 1)
    expected = (flat - centre) @ directions[:6].T / scales
    mean, stddev = model.encode(images)[0]
    signs = np.sign(np.sum(expected * mean, axis=0))
    np.testing.assert_allclose(mean, signs * expected, atol=2e-3)
    np.testing.assert_allclose(stddev, np.full((50, 6), 0.1), rtol=1e-5)
    projected = centre + (flat - centre) @ directions[:6].T @ directions[:6]
    np.testing.assert_allclose(np.float64(model(images)).reshape(50, -1), projected, atol=2e-3)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_changes_the_decoder_and_not_the_encoder(accumulate, tmp_path):
    model, images = _model((6, 3), variance_floor={}), _images(16, 2)
    model.accumulate = accumulate
    means, before = model.encode(images)[0].mean, model(images)
    model.compile(optimizer="adam")
    model.fit(TRAIN, batch_size=100, verbose=0)
    np.testing.assert_array_equal(model.encode(images)[0].mean, means)
    assert np.all(np.max(np.abs(model(images) - before), axis=(1, 2, 3)) > 1e-4)
    np.testing.assert_allclose(pca.projected(model, images), before, atol=1e-5)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.is_adapted()
    np.testing.assert_array_equal(loaded(images), model(images))


def test_to_reach_the_targets_latents_an_attack_has_to_bring_in_all_that_they_see_of_it():
    model, images, targets = _model(), _images(3, 3), _images(3, 4)
    result = attacks.attack(model, images, targets, np.full(3, 1e-3))
    difference = (targets - images).reshape(3, -1)
    flat = TRAIN.reshape(len(TRAIN), -1)
    directions = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:6]
    seen = np.linalg.norm(difference @ directions.T, axis=1)
    assert np.all(result.divergence < 1e-3 * result.unattacked_divergence)
    np.testing.assert_allclose(result.distortion_norm, seen, rtol=0.02)


def test_a_model_without_principal_components_has_no_projection():
    model = SeatbeltVAE(image_shape=SHAPE, latent_dims=(6,), beta=1.0)
    with pytest.raises(ValueError, match="one with the defence 'pca'"):
        pca.projected(model, _images(2, 2))


def test_an_embedding_is_an_orthogonal_projection_of_the_image():
    model, higher = _model(), _model((6, 3))
    images, others = _images(30, 5), _images(30, 6)
    (before, after), moved = map(model.embed, (images, others)), (others - images).reshape(30, -1)
    flat = TRAIN.reshape(len(TRAIN), -1)
    directions = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:6]
    np.testing.assert_allclose(
        np.linalg.norm(after - before, axis=1), np.linalg.norm(moved @ directions.T, axis=1), 1e-2
    )
    top = higher.encode(images)[1].mean
    np.testing.assert_array_equal(higher.embed(images)[:, 6:], top)
    np.testing.assert_allclose(higher.embed(images)[:, :6], before, atol=1e-4)
    plain = SeatbeltVAE(image_shape=SHAPE, latent_dims=(6, 3))
    means = [posterior.mean for posterior in plain.encode(images)]
    np.testing.assert_array_equal(plain.embed(images), np.concatenate(means, axis=1))


def test_what_is_wrong_is_said():
    model = SeatbeltVAE(image_shape=SHAPE, latent_dims=(6,), defences={"pca": {}})
    model.compile(optimizer="adam")
    with pytest.raises(ValueError, match="adapt"):
        model.fit(TRAIN, batch_size=100)
    with pytest.raises(ValueError, match=r"more than latent_dims\[0\] = 6"):
        model.adapt(TRAIN[:5])
    with pytest.raises(ValueError, match="both replace the encoder"):
        SeatbeltVAE(image_shape=SHAPE, defences={"pca": {}, "lipschitz": {}})
