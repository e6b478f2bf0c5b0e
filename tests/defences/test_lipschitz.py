"""Constants of the Lipschitz networks in float64, and certificates that no attack violates."""

import types

import numpy as np
import pytest

from seatbelt_tf import SeatbeltVAE, attacks
from seatbelt_tf.defences import lipschitz, lipschitz_networks

SHAPE = (32, 32, 1)


def _perturbed(layer, size, seed=0):
    rng = np.random.default_rng(seed)
    kernel = layer.kernel.numpy()
    layer.kernel.assign(kernel + size * rng.normal(size=kernel.shape))


def _matrix(layer, shape):
    """The dense matrix of a layer without bias and activation, float64."""
    units = int(np.prod(shape))
    rows = layer(np.eye(units, dtype=np.float32).reshape(units, *shape))
    return np.float64(rows).reshape(units, -1)


LAYERS = {
    "to more channels": (lipschitz_networks.LipschitzConv2D, (8, 8, 3), 20),
    "to fewer channels": (lipschitz_networks.LipschitzConv2D, (8, 8, 6), 10),
    "transposed": (lipschitz_networks.LipschitzConv2DTranspose, (4, 4, 10), 6),
    "dense": (lipschitz_networks.LipschitzDense, (30,), 12),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("size", [0.0, 0.1, 1.0])
def test_no_singular_value_of_a_layer_is_above_one(kind, size):
    layer_class, shape, filters = LAYERS[kind]
    layer = layer_class(filters, seed=1, is_sorted=False)
    layer.build((None, *shape))
    _perturbed(layer, size)
    values = np.linalg.svd(_matrix(layer, shape))[1]
    # The matrix itself is computed in float32.
    assert values[0] <= 1 + 1e-5
    assert values[0] > (0.99999 if size == 0 else 0.3)


def test_sorting_pairs_keeps_norms_and_brings_nothing_further_apart():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 500, 8)).astype(np.float32)
    sorted_one, sorted_other = (lipschitz_networks.max_min(x).numpy() for x in (one, other))
    np.testing.assert_allclose(
        np.linalg.norm(sorted_one, axis=1), np.linalg.norm(one, axis=1), rtol=1e-6
    )
    apart = np.linalg.norm(sorted_one - sorted_other, axis=1)
    assert np.all(apart <= np.linalg.norm(one - other, axis=1) * (1 + 1e-6))


def _model(latent_dims, **options):
    defences = {"lipschitz": {"bound": 1.5, "max_stddev": 0.1}}
    model = SeatbeltVAE(image_shape=SHAPE, latent_dims=latent_dims, defences=defences, **options)
    for place, layer in enumerate([*model.encoder.layers, *model.decoder.layers]):
        if hasattr(layer, "kernel"):
            _perturbed(layer, 0.01, place)
    return model


@pytest.mark.parametrize(
    ("latent_dims", "options"),
    [((3,), {}), ((4, 3), {}), ((4, 3), {"inference": "chain", "likelihood_from": "bottom"})],
)
def test_no_attack_violates_a_certificate(latent_dims, options):
    model = _model(latent_dims, **options)
    images = np.random.default_rng(1).uniform(-1, 1, (2, *SHAPE)).astype(np.float32)
    tolerance, probability = 40.0, 0.9
    found = lipschitz.certificate(model, images, tolerance, probability)
    assert found.mean_radius == pytest.approx(tolerance / 1.5, rel=1e-3)
    assert np.all(found.sample_radius > 0)
    assert np.all(found.sample_radius < found.mean_radius)
    radii = np.array([1.0, 1.0, *[found.mean_radius] * 2, *found.sample_radius])
    damage = attacks.maximum_damage(model, np.tile(images, (3, 1, 1, 1)), radii, steps=15, starts=1)
    assert np.all(damage.damage <= 1.5 * radii)
    worst = damage.adversarial[4:]
    repeated = [np.repeat(ends, 200, axis=0) for ends in (images, worst)]
    one, other = (
        model.decode(model.infer(ends, seed=seed).samples).numpy()
        for seed, ends in enumerate(repeated)
    )
    apart = np.linalg.norm((one - other).reshape(2, 200, -1), axis=2)
    assert np.all(np.mean(apart <= tolerance, axis=1) >= probability)


def _isometry(rng, rows, columns):
    """A matrix that keeps norms: (rows, columns), rows ≥ columns."""
    return np.linalg.qr(rng.normal(size=(rows, columns)))[0]


# A linear hierarchy of which every map is as steep as it may be.
INFERENCES = [("skip", "all"), ("chain", "all"), ("skip", "bottom")]


@pytest.mark.parametrize(("inference", "likelihood_from"), INFERENCES)
def test_constants_are_those_of_the_steepest_linear_hierarchy(inference, likelihood_from):
    model, decoded = _linear(inference, likelihood_from)
    rng = np.random.default_rng(3)
    images = rng.normal(size=(2, 1, 5))
    apart = np.linalg.norm(np.subtract(*decoded(images, np.zeros((2, 1, 3, 40)))))
    assert apart / np.linalg.norm(images[0] - images[1]) == pytest.approx(1.5)
    # Samples: not below what they do, and not far above.
    stddev = np.full((1, 6), 0.1)
    for radius in (0.0, 0.5, 2.0):
        step = radius * images[0] / np.linalg.norm(images[0])
        # The upper layers' standard deviation is the largest, the lowest one's has moved.
        moved = 0.1 + 0.2 / 4 * radius / 6**0.5
        deviations = np.array([[0.1, 0.2, 0.2], [moved, 0.2, 0.2]])[:, None, :, None]
        noise = deviations * rng.normal(size=(2, 20_000, 3, 40))
        ends = decoded(np.stack([images[0], images[0] + step]), noise)
        exact = np.quantile(np.linalg.norm(ends[0] - ends[1], axis=1), 0.9)
        bound = lipschitz.movement(model, stddev, np.array([radius]), 0.9)[0]
        assert exact <= bound <= 2.5 * exact


def test_a_posterior_mean_is_as_steep_as_those_below_and_the_features_let_it_be():
    model, _ = _linear("skip", "all")
    first, second = 0.4, 0.4 * np.sqrt(0.4**2 + 1)
    expected = [first, second, 0.4 * np.sqrt(second**2 + 1)]
    np.testing.assert_allclose(lipschitz.mean_constants(model, 0.4), expected)
    model, _ = _linear("chain", "all")
    np.testing.assert_allclose(lipschitz.mean_constants(model, 0.4), [0.4, 0.4**2, 0.4**3])


def _linear(inference, likelihood_from):
    """What certificates read of a model of three layers, and images' reconstructions given noise.

    The function takes (2, 1, 5) images and (2, n, 3, 40) noise by layer: -> (2, n, 40).
    """
    options = {"bound": 1.5, "latent_scale": 0.4, "max_stddev": 0.2}
    model = types.SimpleNamespace(
        latent_dims=(6, 14, 40),
        inference=inference,
        likelihood_from=likelihood_from,
        defences={"lipschitz": options},
    )
    rng = np.random.default_rng(0)
    sizes = [5, *model.latent_dims]
    inputs = [below + 5 * (inference == "skip") * (place > 0) for place, below in enumerate(sizes)]
    maps = [0.4 * _isometry(rng, *pair) for pair in zip(sizes[1:], inputs, strict=False)]
    decoder = lipschitz.decoder_constant(model, 1.5, 0.4)

    def decoded(images, noise):
        images = np.broadcast_to(images, (*noise.shape[:2], 5))
        latents, hidden = [], images
        for place, matrix in enumerate(maps):
            if place and inference == "skip":
                hidden = np.concatenate([latents[-1], images], axis=2)
            latents.append(hidden @ matrix.T + noise[:, :, place, : len(matrix)])
            hidden = latents[-1]
        used = latents if likelihood_from == "all" else latents[:1]
        # The decoder keeps norms, too, but for its constant.
        return decoder * np.concatenate(used, axis=2)

    return model, decoded


def test_movement_without_distortion_is_that_of_two_gaussians():
    model = _model((5,))
    stddev = np.array([[0.1, 0.2, 0.05, 0.1, 0.1]])
    rng = np.random.default_rng(2)
    draws = rng.normal(size=(2, 100_000, 5)) * stddev
    norms = np.linalg.norm(draws[0] - draws[1], axis=1)
    constant = lipschitz.decoder_constant(model, 1.5, 0.4)
    for probability in (0.5, 0.9, 0.99):
        bound = lipschitz.movement(model, stddev, np.zeros(1), probability)[0]
        exact = constant * np.quantile(norms, probability)
        assert exact <= bound <= 3 * exact


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": SeatbeltVAE(image_shape=SHAPE, latent_dims=(3,))}, "lipschitz"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"probability": 1.0}, "probability"),
        ({"images": np.zeros((1, 16, 16, 1), np.float32)}, "images.shape"),
    ],
)
def test_bad_input_is_named(changes, message):
    arguments = {
        "model": _model((3,)),
        "images": np.zeros((1, *SHAPE), np.float32),
        "tolerance": 1.0,
        "probability": 0.9,
    }
    with pytest.raises(ValueError, match=message):
        lipschitz.certificate(**(arguments | changes))
