"""What is measured of a trained model, against what is computed otherwise, on an untrained one."""

import types

import numpy as np
import pytest

from seatbelt_tf import SeatbeltVAE, attacks
from seatbelt_tf.defences import pca
from seatbelt_tf.evaluation import disentanglement, noise
from seatbelt_tf.evaluation import downstream as table1
from trainers import batteries, splits
from trainers.studies import measures
from trainers.studies.measures import attacked, common

CONFIG = {"data": {"name": "sprites", "data_dir": None, "image_size": 32}}
BATTERY = {"objective": "latent_kl", "ancestors": "mean", "max_evaluations": 2}


@pytest.fixture(scope="module")
def model():
    return SeatbeltVAE((32, 32, 1), (4, 3))


def _measured(name, model, run=None, **options):
    return measures.FUNCTIONS[name](model, run, CONFIG, **options)


def _norms(images):
    return np.array([np.sqrt(np.sum(np.float64(image) ** 2)) for image in images])


def test_losses_are_those_whose_mean_the_battery_reports(model, tmp_path, monkeypatch):
    monkeypatch.setattr(attacked, "_fired", lambda *_: set())
    run = types.SimpleNamespace(
        config=lambda: CONFIG, model_digest=lambda: "x", attacks=tmp_path / "attacks"
    )
    options = {"pairs": 2, "weights": 3, **BATTERY}
    found = _measured("losses", model, run, **options)
    assert found["losses"].shape == (2, 3)
    np.testing.assert_allclose(found["weights"], attacks.paper_weights(3))
    # Δ grows with λ.
    assert np.all(np.diff(found["losses"], axis=1) >= 0)
    battery = _measured("attack", model, run, **options)
    np.testing.assert_allclose(found["losses"].mean(axis=1), battery["loss"], rtol=1e-6)


def test_the_checks_of_attacks_on_the_model_without_its_chain_are_told_apart(monkeypatch):
    def found(victim, *_, **options):
        fired = {"without": {"not_converged"}, "with": {"fresh_draws"}}[victim.name]
        assert (options["ancestors"] == "mean") == (victim.name == "without")
        return types.SimpleNamespace(scorer=None), {}, None, fired

    monkeypatch.setattr(attacked, "_all_attacked", found)
    for name in ("_judged", "_together", "_slopes", "squared_errors"):
        monkeypatch.setattr(attacked, name, lambda *_: {"area_above_blending": 0.1})
    victim = types.SimpleNamespace(
        name="with", surrogate=lambda: types.SimpleNamespace(name="without")
    )
    monkeypatch.setattr(attacked, "in_batches", lambda *_: None)
    told = _measured(
        "strongest",
        victim,
        split="test",
        objectives=("latent_kl",),
        **{"pairs": 2, "attacked": 2, "weights": 3, "images": 2},
        **{"transferred": True, "ancestors": "sample"},
    )
    assert list(told["fired"]) == ["fresh_draws", "without chain: not_converged"]
    assert told["area_without_chain"] == 0.1


def test_hearts_differ_in_rotation_alone_and_are_what_a_battery_of_them_attacks(monkeypatch):
    images, targets = attacked.hearts(3)
    assert images.shape == targets.shape == (3, 64, 64, 1)
    rows, columns = np.mgrid[:64, :64] - 31.5
    for image, target in zip(images[..., 0] + 1, targets[..., 0] + 1, strict=True):
        assert np.mean(np.abs(image - target)) > 0.01
        # Rendered in whole pixels, a turned heart's area differs a little.
        assert image.sum() == pytest.approx(target.sum(), rel=0.05)
        for heart in (image, target):
            middle = [np.sum(heart * places) / heart.sum() for places in (rows, columns)]
            assert np.max(np.abs(middle)) < 4
    asked = []

    def asks(_model, _run, _config, ends, chosen, *_, **__):
        asked.append((ends, chosen))
        raise InterruptedError

    monkeypatch.setattr(attacked, "_attacked", asks)
    with pytest.raises(InterruptedError):
        _measured("attack", None, pairs=3, weights=3, hearts_only=True)
    ((ends, chosen),) = asked
    np.testing.assert_array_equal(ends, [images, targets])
    assert chosen == {"hearts": True}


def test_damage_is_of_the_first_images_and_beside_what_reconstructions_differ_by(model):
    options = {"images": 3, "attacked": 2, "starts": 1, "steps": 3, "ancestors": "mean"}
    found = _measured("damage", model, radii=(0.01, 1.0), **options)
    assert found["damage"].shape == (2, 2)
    assert np.all(found["damage"][1] > found["damage"][0])
    assert np.all(found["damage"][0] > 0)
    images, others = batteries.pairs(CONFIG["data"], 3, common.SEED)
    apart = _norms(model(images).numpy() - model(others).numpy())
    assert found["typical"] == pytest.approx(np.median(apart), rel=1e-4)


def test_a_projection_is_told_from_what_the_network_adds():
    model = SeatbeltVAE((32, 32, 1), (4,), defences={"pca": {}})
    train, _ = splits.first(CONFIG["data"], "train", 100)
    model.adapt(train)
    # The network's last kernel is 0, so that it adds the same to all pixels.
    model.decoder.trainable_variables[-1].assign_add([0.1])
    found = _measured("projection", model, images=5)
    test, _ = splits.first(CONFIG["data"], "test", 5)
    flat, centre = test.reshape(5, -1), train.reshape(100, -1).mean(0)
    _, _, directions = np.linalg.svd(train.reshape(100, -1) - centre, full_matrices=False)
    inside = (flat - centre) @ directions[:4].T
    expected = np.sum((flat - centre) ** 2, axis=1) - np.sum(inside**2, axis=1)
    # scikit-learn's components are randomised.
    np.testing.assert_allclose(found["projection_error"], expected, rtol=0.02)
    np.testing.assert_allclose(found["network_norm"], np.full(5, 3.2), rtol=1e-3)
    alone = pca.projected(model, test).numpy()
    added = np.sum((alone + 0.1 - test).reshape(5, -1) ** 2, axis=1)
    np.testing.assert_allclose(found["squared_error"], added, rtol=1e-3)


def test_samples_are_different_images_and_the_same_every_time(model):
    first, again = (_measured("samples", model, count=3)["samples"] for _ in range(2))
    assert first.shape == (3, 32, 32, 1)
    np.testing.assert_array_equal(first, again)
    assert np.all(np.std(first, axis=0).max() > 1e-4)
    assert np.all(np.isfinite(first))


def test_denoising_overlap_and_mig_are_those_of_the_first_test_images(model):
    found = _measured("denoising", model, images=5, scales=(0.0, 1.0))["log_likelihood"]
    images, factors = splits.first(CONFIG["data"], "test", 60, with_labels=True)
    score = attacks.score(model, images[:5], images[:5], images[:5], draws=4)
    np.testing.assert_allclose(found[0], -score.floor, rtol=1e-5)
    np.testing.assert_allclose(found[1], noise.noisy_log_likelihood(model, images[:5], 1.0))
    assert not np.allclose(found[0], found[1])

    widths = _measured("overlap", model, images=5)
    assert list(widths) == ["layer_0", "layer_1"]
    for (_, stddev), norms in zip(model.posteriors(images[:5]), widths.values(), strict=True):
        np.testing.assert_allclose(norms, _norms(stddev.numpy()), rtol=1e-4)

    # A model whose units are two of the factors.
    told = types.SimpleNamespace(embed=lambda batch: factors[: len(batch), 1:3].astype(np.float32))
    gap = float(_measured("disentanglement", told, images=60)["mig"])
    assert gap == pytest.approx(disentanglement.mutual_information_gap(factors[:, 1:3], factors))
    assert gap > 0.1


def test_what_classifiers_get_right_is_kept_by_task(monkeypatch):
    tasks = dict(enumerate(table1.TASKS))
    asked = []

    def evaluate(model, train, test, **options):
        asked.append((model, train, test, options))
        return table1.Downstream(
            {task: f"clean {place}" for place, task in tasks.items()},
            {task: f"attacked {place}" for place, task in tasks.items()},
            *("rows", "target rows", "norm", "radii"),
            {task: f"end to end {place}" for place, task in tasks.items()},
        )

    monkeypatch.setattr(table1, "evaluate", evaluate)
    monkeypatch.setattr(splits, "first", lambda _, split, count, with_labels: (split, count))
    options = {"attacked": 2, "labelled": 7, "steps": 3}
    found = _measured("downstream", "model", radii=(0.5,), **options)
    assert asked == [
        ("model", ("train", 7), ("test", 7), {"attacked": 2, "steps": 3, "radii": (0.5,)})
    ]
    expected = {"rows": "rows", "distortion_norm": "norm"}
    for place, task in tasks.items():
        for kind in ("clean", "attacked", "end to end"):
            expected[f"{kind.replace(' ', '_')}_{task}"] = f"{kind} {place}"
    assert found == expected
    without = _measured("downstream", "model", **options)
    assert set(expected) - set(without) == {f"end_to_end_{task}" for task in tasks.values()}
