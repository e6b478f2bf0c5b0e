"""The Keras model: the family, fitting, saving in another process, determinism, bad input."""

import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from seatbelt_tf import SeatbeltVAE, checks, guards

# Batches here are as small as they can be.
pytestmark = pytest.mark.filterwarnings("ignore:A batch of .* is too small")

FAMILY = {
    "VAE": {"latent_dims": (5,), "beta": 1.0},
    "beta-VAE": {"latent_dims": (5,), "beta": 4.0, "penalty": "kl"},
    "beta-TCVAE": {"latent_dims": (5,), "beta": 4.0},
    "hierarchical VAE": {"latent_dims": (6, 4), "beta": 1.0},
    "Seatbelt-VAE": {"latent_dims": (6, 5, 4, 3, 2), "beta": 4.0, "tc_estimator": "mss"},
    "DLGM": {"latent_dims": (6, 4), "beta": 4.0, "likelihood_from": "bottom"},
    "chain": {"latent_dims": (6, 4), "inference": "chain", "kl_estimator": "sampled"},
}
SHAPE = (32, 32, 1)


def _images(count=16, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *shape)).astype(np.float32)


def _model(**options):
    options = {"image_shape": SHAPE, "latent_dims": (4, 3), "dataset_size": 16} | options
    model = SeatbeltVAE(**options)
    model.compile(optimizer="adam")
    return model


@pytest.fixture(scope="module")
def untouched():
    """A model for what must not change it."""
    return _model()


@pytest.mark.parametrize("member", FAMILY)
def test_every_member_of_the_family_fits_predicts_saves_and_loads(member, tmp_path):
    model, images = _model(**FAMILY[member]), _images()
    layers = len(model.latent_dims)
    history = model.fit(images, batch_size=8, epochs=1, verbose=0).history
    kls = [f"kl_layer_{layer + 1}" for layer in range(layers)]
    assert set(history) == {"loss", "elbo", "log_likelihood", "total_correlation", *kls}
    assert all(np.isfinite(values).all() for values in history.values())
    assert model.predict(images, verbose=0).shape == images.shape
    encoded = model.encode(images)
    assert [mean.shape for mean, _ in encoded] == [(16, units) for units in model.latent_dims]
    reconstructions = model.decode([mean for mean, _ in encoded])
    np.testing.assert_array_equal(reconstructions, model(images))
    assert model.sample(3, seed=1).shape == (3, *SHAPE)

    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded.elbo(images, seed=3), model.elbo(images, seed=3))


@pytest.mark.parametrize("shape", [(64, 64, 1), (64, 64, 3), (32, 32, 3), (128, 128, 1)])
def test_networks_fit_every_image_shape(shape):
    model = SeatbeltVAE(image_shape=shape, latent_dims=(3, 2))
    assert model(_images(2, shape)).shape == (2, *shape)


def test_filters_are_those_of_appendix_g():
    for shape, encoder, decoder in (
        ((64, 64, 1), (32, 32, 64, 64, 512), (512, 64, 64, 32, 32, 1)),
        ((32, 32, 3), (64, 64, 128, 128, 512), (512, 128, 128, 64, 64, 3)),
    ):
        model = SeatbeltVAE(image_shape=shape, latent_dims=(3,))
        for network, expected in ((model.encoder, encoder), (model.decoder, decoder)):
            filters = [layer.filters for layer in network.layers if hasattr(layer, "filters")]
            assert tuple(filters) == expected


def test_presets_are_the_papers_sizes():
    model = SeatbeltVAE.from_preset("celeb_a", layers=3, beta=20.0)
    assert (model.image_shape, model.latent_dims, model.beta) == ((64, 64, 3), (128, 64, 32), 20)
    assert SeatbeltVAE.from_preset("sprites", layers=5).latent_dims == (96, 48, 24, 12, 6)


_LOAD = """
import sys
{imports}
import numpy as np
model = keras.models.load_model(sys.argv[1])
assert type(model).__name__ == "SeatbeltVAE", type(model)
np.save(sys.argv[3], model(np.load(sys.argv[2])))
"""


@pytest.mark.parametrize(
    ("dtype", "imports"),
    [("float32", "import seatbelt_tf, keras"), ("mixed_bfloat16", "import keras, seatbelt_tf")],
)
def test_saved_model_loads_in_another_process_without_custom_objects(dtype, imports, tmp_path):
    model, images = _model(dtype=dtype), _images()
    model.run_eagerly = True
    model.fit(images, batch_size=8, epochs=1, verbose=0)
    paths = [tmp_path / name for name in ("m.keras", "images.npy", "result.npy")]
    model.save(paths[0])
    np.save(paths[1], images)
    subprocess.run(
        [sys.executable, "-c", _LOAD.format(imports=imports), *map(str, paths)], check=True
    )
    # Another process may split reductions otherwise; bfloat16 keeps about three digits.
    tolerance = 1e-5 if dtype == "float32" else 3e-2
    np.testing.assert_allclose(np.load(paths[2]), model(images), atol=tolerance)


def test_mixed_precision_keeps_densities_in_float32():
    model = _model(dtype="mixed_bfloat16")
    inference = model.infer(_images())
    assert {t.dtype for t in tf.nest.flatten(inference)} == {tf.float32}
    assert model.encoder(_images()).dtype == tf.bfloat16
    assert model.elbo(_images()).dtype == model(_images()).dtype == tf.float32


def test_same_seed_gives_the_same_training_and_another_seed_another():
    images = _images()
    results = []
    for seed in (0, 0, 1):
        model = _model(seed=seed)
        # What differs does so however it is computed, and compiling takes longest.
        model.run_eagerly = seed == 1
        model.fit(images, batch_size=8, epochs=2, shuffle=False, verbose=0)
        results.append(model.predict(images, verbose=0))
    np.testing.assert_array_equal(results[0], results[1])
    assert np.abs(results[0] - results[2]).max() > 1e-3


def test_noise_differs_between_steps_and_layers_and_repeats_with_the_seed(untouched):
    draws = [
        untouched._noise(8, purpose, seed, step)
        for purpose, seed, step in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 0)]
    ]
    first = draws[0][0].numpy()
    for other in draws[1:4]:
        assert np.abs(first - other[0]).min() > 0
    np.testing.assert_array_equal(first, draws[4][0])
    assert np.abs(first[:, :3] - draws[0][1]).min() > 0


def test_evaluate_repeats_itself_and_reports_the_elbo_without_penalty():
    model, images = _model(beta=1.0, free_bits=0.0), _images(32)
    first, second = (
        model.evaluate(images, batch_size=8, verbose=0, return_dict=True) for _ in range(2)
    )
    assert first == second
    before = model.get_weights()
    assert np.isfinite(model.test_step(tf.constant(images))["elbo"])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert first["loss"] == pytest.approx(-first["elbo"], rel=1e-6)
    # Images count alike, also those of a smaller last batch.
    uneven = model.evaluate(images[:10], batch_size=4, verbose=0, return_dict=True)
    assert uneven["loss"] == pytest.approx(-uneven["elbo"], rel=1e-6)
    penalised = _model(beta=10.0, free_bits=0.0)
    penalised.set_weights(model.get_weights())
    result = penalised.evaluate(images, batch_size=8, verbose=0, return_dict=True)
    assert result["elbo"] == pytest.approx(first["elbo"], rel=1e-6)
    expected = first["loss"] + 9 * first["total_correlation"]
    assert result["loss"] == pytest.approx(expected, rel=1e-6)


def test_single_layer_without_penalty_is_the_plain_vae_term_by_term():
    model, images = SeatbeltVAE(image_shape=SHAPE, latent_dims=(5,), beta=1.0), _images(4)
    noise = model._noise(4, 0, 0)
    terms = model._objective(tf.constant(images), noise, training=True)
    ((mean, stddev),) = model.encode(images)
    mean, stddev = np.float64(mean), np.float64(stddev)
    decoded = np.float64(model.decode([mean + stddev * noise[0]]))
    likelihood = -0.5 * ((images - decoded) / 0.1) ** 2 - np.log(0.1 * np.sqrt(2 * np.pi))
    likelihood = likelihood.sum((1, 2, 3))
    kl = 0.5 * (mean**2 + stddev**2 - 1 - 2 * np.log(stddev)).sum(1)
    # float32 sums over 1,024 pixels.
    np.testing.assert_allclose(terms.log_likelihood, likelihood, rtol=1e-5)
    np.testing.assert_allclose(terms.kl[0], kl, rtol=1e-5)
    np.testing.assert_allclose(terms.loss, -(likelihood - kl).mean(), rtol=1e-5)


def test_fits_datasets_with_labels_and_partial_batches():
    model = _model(latent_dims=(4,))
    data = tf.data.Dataset.from_tensor_slices((_images(10), np.arange(10))).batch(4)
    history = model.fit(data, epochs=1, verbose=0, validation_data=data).history
    assert np.isfinite(history["val_elbo"]).all()


def test_a_batch_too_small_for_the_total_correlation_is_warned_of_when_it_is_penalised(monkeypatch):
    # The warning comes before Keras trains.
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: None)
    for options, expected in (
        ({"beta": 2.0}, True),
        ({"beta": 1.0}, False),
        ({"beta": 2.0, "penalty": "kl"}, False),
        ({"beta": 2.0, "latent_dims": (4, 1)}, False),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            _model(**options).fit(_images(), batch_size=16, verbose=0)
        assert any("too small" in str(w.message) for w in caught) == expected
    assert "about 30 " in _model(beta=2.0).small_batch_warning(29)
    assert _model(beta=2.0).small_batch_warning(30) is None


def test_likelihood_from_bottom_ignores_the_upper_layers(untouched):
    model = _model(likelihood_from="bottom")
    latents = [np.ones((2, 4), np.float32), np.ones((2, 3), np.float32)]
    same_bottom = [latents[0], -latents[1]]
    np.testing.assert_array_equal(model.decode(latents), model.decode(same_bottom))
    assert np.any(untouched.decode(latents) != untouched.decode(same_bottom))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_shape": (48, 48, 1)}, "image_shape"),
        ({"image_shape": (64, 32, 1)}, "image_shape"),
        ({"image_shape": (64, 64, 2)}, "image_shape"),
        ({"image_shape": (64, 64)}, "image_shape"),
        ({"latent_dims": ()}, "latent_dims"),
        ({"latent_dims": 6}, "latent_dims"),
        ({"latent_dims": (4, 0)}, "latent_dims"),
        ({"latent_dims": (4, -1)}, "latent_dims"),
        ({"latent_dims": (1, 1, 1, 1, 1, 1)}, "latent_dims"),
        ({"image_shape": (64.9, 64.2, "1")}, "image_shape"),
        ({"beta": -1.0}, "beta"),
        ({"beta": float("nan")}, "beta"),
        ({"beta": "6"}, "beta"),
        ({"penalty": "tcc"}, "did you mean 'tc'"),
        ({"likelihood_from": "top"}, "likelihood_from"),
        ({"inference": "skp"}, "did you mean 'skip'"),
        ({"kl_estimator": "exact"}, "kl_estimator"),
        ({"tc_estimator": "mws2"}, "tc_estimator"),
        ({"tc_estimator": "mss"}, "dataset_size"),
        ({"dataset_size": 0}, "dataset_size"),
        ({"free_bits": -0.1}, "free_bits"),
        ({"likelihood_scale": 0.0}, "likelihood_scale"),
        ({"seed": -1}, "seed"),
        ({"betta": 3.0}, "did you mean 'beta'"),
        ({"latent_dims": 16}, "a sequence of 1 to 5 positive integers"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SeatbeltVAE(**options)


def test_unknown_presets_and_too_many_layers_are_refused():
    with pytest.raises(ValueError, match="did you mean 'celeb_a'"):
        SeatbeltVAE.from_preset("celeba")
    with pytest.raises(ValueError, match="at most 4"):
        SeatbeltVAE.from_preset("celeb_a", layers=5)


_NAN = _images()
_NAN[3, 1, 2, 0] = np.nan
BAD_IMAGES = {
    "rank": (_images()[0], "shape"),
    "size": (_images(shape=(64, 64, 1)), "shape"),
    "channels": (_images(shape=(32, 32, 3)), "shape"),
    "uint8": (np.zeros((16, *SHAPE), np.uint8), "dtype"),
    "range": (255 * np.abs(_images()), r"\[-1, 1\]"),
    "nan": (_NAN, "NaN"),
    "empty": (_images()[:0], "at least one image"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
@pytest.mark.parametrize("as_dataset", [False, True])
def test_bad_images_are_refused_before_any_step(kind, as_dataset, untouched):
    images, message = BAD_IMAGES[kind]
    model = untouched
    before = model.get_weights()
    if as_dataset:
        images = tf.data.Dataset.from_tensors(images)
        if kind == "empty":
            images = images.take(0)
            message = "empty dataset"
    with pytest.raises(ValueError, match=message):
        model.fit(images, verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    if not as_dataset:
        methods = [model.encode, model.infer, model.elbo, model.evaluate, model]
        if kind in ("size", "channels"):
            methods.append(model.predict)
        for method in methods:
            with pytest.raises(ValueError, match=message):
                method(images)


def test_fewer_images_than_a_batch_are_refused(untouched):
    with pytest.raises(ValueError, match="batch_size=32"):
        untouched.fit(_images(16), batch_size=32)
    with pytest.raises(ValueError, match="batch_size=32"):
        untouched.fit(_images(16), None, 32)


def test_batches_that_cannot_be_split_are_refused():
    model = _model(latent_dims=(4,))
    model.accumulate = 4
    for size, count in ((6, 12), (8, 10)):
        with pytest.raises(ValueError, match="a divisor of all batches"):
            model.fit(_images(count), batch_size=size)
    model.fit(_images(12), batch_size=8, verbose=0)
    # Of 16 images 14 are trained on.
    with pytest.raises(ValueError, match="the last 6 images"):
        model.fit(_images(16), batch_size=8, validation_split=0.1)
    with pytest.raises(ValueError, match="the last 6 images"):
        model.fit(_images(16), None, 8, 1, 0, None, 0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"sample_weight": np.ones(16)}, "sample_weight"),
        ({"class_weight": {0: 1.0}}, "class_weight"),
    ],
)
def test_what_training_has_no_use_for_is_refused(options, message, untouched):
    with pytest.raises(ValueError, match=message):
        untouched.fit(_images(), **options)


def test_images_that_seem_to_be_in_another_range_are_warned_of(monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: None)
    model, images = _model(), np.abs(_images())
    for data in (images, tf.data.Dataset.from_tensors((images, np.arange(16)))):
        with pytest.warns(UserWarning, match=r"in \[-1, 1\], not in \[0, 1\]"):
            model.fit(data)
    model.fit(_images())


@pytest.mark.parametrize(
    ("name", "value"), [("loss", "mse"), ("metrics", ["mse"]), ("weighted_metrics", ["mse"])]
)
def test_losses_and_metrics_beside_the_models_own_are_refused(name, value):
    model = _model()
    model.compile(optimizer="adam", **{name: value})
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=f"{name}. Expected None: the objective"):
            method(_images())


def test_steps_whose_gradients_are_accumulated_draw_other_noise():
    model = _model(latent_dims=(4,))
    model.compile(keras.optimizers.SGD(1e-9, gradient_accumulation_steps=4))
    elbos = [float(model.train_on_batch(_images(), return_dict=True)["elbo"]) for _ in range(3)]
    assert len(set(elbos)) == 3
    assert int(model.optimizer.iterations) == 0


def test_options_that_are_set_between_two_trainings_count():
    model = _model(latent_dims=(4,), penalty="kl", beta=1.0)
    model.compile(keras.optimizers.SGD(0.0))

    def ratio():
        seen = model.fit(_images(), batch_size=16, verbose=0).history
        return seen["loss"][0] / -seen["elbo"][0]

    assert ratio() == pytest.approx(1.0, abs=1e-6)
    model.beta = 1000.0
    assert ratio() > 1.01
    model.latent_dims = (5,)
    with pytest.raises(ValueError, match="Expected \\(4,\\), which the networks were made by"):
        model.fit(_images())


def test_fewer_images_in_a_dataset_than_are_given_are_refused():
    model = _model(latent_dims=(4,), tc_estimator="mss", dataset_size=15)
    data = tf.data.Dataset.from_tensors(_images())
    for images in (_images(), data):
        with pytest.raises(ValueError, match="Expected at least the 16 images"):
            model.fit(images, batch_size=8 if images is not data else None)


def test_keras_is_told_of_shapes_and_metrics_and_an_embedding_is_that_of_the_posteriors(untouched):
    assert untouched(keras.Input(SHAPE)).shape == (None, *SHAPE)
    for shape in ((64, 64, 1), (32, 32, 3)):
        with pytest.raises(ValueError, match="Expected"):
            untouched(keras.Input(shape))
    assert [mean.name for mean in untouched.metrics][:2] == ["loss", "elbo"]
    images = _images(2)
    embedding = untouched.embedding(untouched.encode(images))
    np.testing.assert_array_equal(embedding, untouched.embed(images))


def test_large_seeds_are_as_good_as_small_ones():
    seeds = (1, 2**20 - 1, 2**20, 20261129, 134217473, checks.LARGEST_SEED)
    models = [_model(seed=seed) for seed in seeds]
    means = [model.encode(_images(1))[0].mean.numpy().tobytes() for model in models]
    assert len(set(means)) == len(seeds)
    drawn = {models[0].sample(1, seed=seed).numpy().tobytes() for seed in seeds}
    assert len(drawn) == len(seeds)
    with pytest.raises(ValueError, match="an integer from 0 to 2147479552"):
        _model(seed=checks.LARGEST_SEED + 1)


def test_datasets_of_something_else_are_refused(untouched):
    with pytest.raises(ValueError, match="a dataset of images"):
        untouched.fit(tf.data.Dataset.from_tensors({"image": _images()}))


def test_later_batches_with_nan_stop_before_the_update_and_are_named():
    model = _model(latent_dims=(4,))
    data = tf.data.Dataset.from_tensor_slices(np.concatenate([_images(), _NAN])).batch(16)
    with pytest.raises(tf.errors.InvalidArgumentError, match="finite pixels") as caught:
        model.fit(data, epochs=1, verbose=0)
    message = guards.message(caught.value)
    assert message.startswith("Invalid batch of images at step 1 ")
    assert message.endswith("in the images at places 3")
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert int(model.optimizer.iterations) == 1


def _overflow(model, kind):
    """Makes the loss overflow, or a gradient alone; returns what is to be named."""
    if kind == "loss":
        model.decoder.layers[-2].bias.assign([3e19])
        return "elbo = -inf"
    # The root of 0 is 0 and its derivative infinite.
    original = model._decode
    model._decode = lambda latents, training=False: (
        original(latents, training) + tf.sqrt(tf.reduce_sum(0.0 * latents[0]))
    )
    return "gradients = nan"


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing_and_names_the_terms(kind):
    model, images = _model(latent_dims=(4,)), _images()
    model.fit(images, batch_size=8, epochs=1, verbose=0)
    expected = _overflow(model, kind)
    model.train_function = None
    before = [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]
    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid loss") as caught:
        model.train_on_batch(images)
    message = guards.message(caught.value)
    assert message.startswith("Invalid loss at step 2 Expected finite terms. Received ")
    assert expected in message
    assert "kl_layer" not in message
    after = [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_wrong_latents_are_refused(untouched):
    rows = [np.zeros((2, 4)), np.zeros((3, 3))]
    none, integers = ([np.zeros((n, 4), t), np.zeros((n, 3))] for n, t in ((0, float), (2, int)))
    infinite = [np.zeros((2, 4)), np.full((2, 3), np.inf)]
    few, swapped = [np.zeros((2, 4))], [np.zeros((2, 3)), np.zeros((2, 4))]
    for latents in (few, swapped, rows, none, integers, infinite):
        with pytest.raises(ValueError, match="latents"):
            untouched.decode(latents)
    with pytest.raises(ValueError, match="count"):
        untouched.sample(0)
