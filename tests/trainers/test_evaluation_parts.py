"""Parts of an evaluation: kept by model and settings, and classifiers where there are classes."""

import functools
import types

import numpy as np
import pytest
from PIL import Image

from seatbelt_tf import SeatbeltVAE, presets, runs
from seatbelt_tf.evaluation import distortion, downstream
from trainers import batteries, kept, splits
from trainers.evaluation import attack_sections, output, parts, sections
from trainers.studies import scales


@pytest.fixture
def run(tmp_path):
    """A run whose model is any file."""
    (tmp_path / "model.keras").write_bytes(b"one")
    return runs.Run(tmp_path)


def _kept(run, value, **settings):
    return kept.once(run, "part", settings, ["x"], lambda: {"x": value})["x"]


def test_a_part_is_computed_once_for_a_model_and_its_settings(run):
    assert _kept(run, 1.0, images=10) == 1.0
    assert _kept(run, 2.0, images=10) == 1.0
    assert _kept(run, 3.0, images=20) == 3.0
    run.model_file.write_bytes(b"two")
    assert _kept(run, 4.0, images=10) == 4.0
    run.model_file.write_bytes(b"one")
    assert _kept(run, 5.0, images=10) == 1.0


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(b"PK"), lambda path: np.savez(path, y=1)]
)
def test_a_damaged_part_is_set_aside_and_computed_again(run, damage):
    _kept(run, 1.0)
    (path,) = run.evaluation.glob("*.npz")
    damage(path)
    with pytest.warns(UserWarning, match="renamed"):
        assert _kept(run, 2.0) == 2.0
    assert [path.suffix for path in sorted(run.evaluation.iterdir())] == [".damaged", ".npz"]


def test_a_folder_with_class_subfolders_has_its_classifiers_attacked(run, tmp_path, monkeypatch):
    monkeypatch.setattr(downstream, "evaluate", functools.partial(downstream.evaluate, steps=5))
    rng = np.random.default_rng(0)
    for name, brightness in (("dark", 40), ("bright", 210)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(40):
            pixels = np.clip(rng.normal(brightness, 10, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    data = {"name": f"folder:{tmp_path / 'images'}", "data_dir": None, "image_size": 32}
    model = SeatbeltVAE(image_shape=(32, 32, 3), latent_dims=(4,))
    found = parts.classifiers(parts.Subject(run, data, model), 3, 5, seed=0)
    assert set(found.accuracies()) == {"mlp_reconstruction", "conv_reconstruction", "mlp_latents"}
    again = parts.classifiers(parts.Subject(run, data, None), 3, 5, seed=0)
    np.testing.assert_array_equal(found.rows, again.rows)
    np.testing.assert_array_equal(found.distortion_norm, again.distortion_norm)


def test_a_folder_with_one_class_has_no_classifiers(run, tmp_path):
    (tmp_path / "images" / "all").mkdir(parents=True)
    for index in range(10):
        pixels = np.random.default_rng(index).integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / "all" / f"{index}.png")
    data = {"name": f"folder:{tmp_path / 'images'}", "data_dir": None, "image_size": 32}
    assert parts.classifiers(parts.Subject(run, data, None), 3, 5, seed=0) is None


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (output.Row("x", -0.12345, -0.2, 0.1), "−0.1235 [−0.2, 0.1]"),
        (output.Row("x", 12345.6), "12,346"),
        (output.Row("x", 0.0), "0"),
    ],
)
def test_numbers_are_written_with_four_digits(row, text):
    assert str(row) == text


def test_clean_quality_is_of_as_many_images_as_asked(run, monkeypatch):
    data = {"name": "sprites", "data_dir": None, "image_size": 32}
    asked = []
    monkeypatch.setattr(
        parts.training, "validate", lambda _, test, __: asked.extend(map(len, test)) or {}
    )
    monkeypatch.setattr(parts.kept, "once", lambda *arguments: arguments[-1]())
    model = SeatbeltVAE((32, 32, 1), (1,))
    subject = parts.Subject(run, data, model)
    parts.clean(subject, 250)
    assert asked == [200, 50]
    # One unit has no gap to a second.
    assert parts.mutual_information_gap(subject, 10) is None


def test_what_is_proven_is_told_of_lipschitz_models_alone(run, monkeypatch):
    data = {"name": "sprites", "data_dir": None, "image_size": 64}
    model = SeatbeltVAE((64, 64, 1), (4,), defences={"lipschitz": {"bound": 1.5}})
    subject = parts.Subject(run, data, model)
    with pytest.raises(ValueError, match="the images the run was started with"):
        parts.certificates(subject._replace(data={**data, "fingerprint": "another's"}), 5)
    found = parts.certificates(subject, 5)
    np.testing.assert_allclose(found["tolerance"] / found["mean_radius"], 1.5, rtol=1e-3)
    # The trial's tolerances: of its pairs, chosen by seed 0.
    apart = np.subtract(*splits.pairs(data, scales.SCALES["cpu"].pairs)).reshape(20, -1)
    median = np.median(np.sqrt(np.sum(apart**2, axis=1)))
    np.testing.assert_allclose(found["tolerance"], median * np.array([1, 2, 4]) / 8, rtol=1e-5)
    assert found["sample_radius"].shape == (3, 5)
    told = {row.name: row.mean for row in sections.certificates(found).rows}
    assert told["mean_radius_0.25"] == found["mean_radius"][1]
    assert told["certified_0.5_at_1"] == np.mean(found["sample_radius"][2] >= 1)
    monkeypatch.setattr(presets, "CERTIFIED_PROBABILITY", 0.99)
    surer = parts.certificates(subject, 5)
    assert np.all(surer["sample_radius"] < found["sample_radius"])
    plain = SeatbeltVAE((64, 64, 1), (4,))
    assert parts.certificates(parts.Subject(run, data, plain), 5) is None


def test_classifiers_under_attack_are_told_by_task():
    correct = {task: np.arange(8) < 7 - place for place, task in enumerate(downstream.TASKS)}
    attacked = {task: np.arange(4) < 2 - place for place, task in enumerate(downstream.TASKS)}
    rows, norms = np.arange(4, 8), np.array([1.0, 2.0, 3.0, 6.0])
    found = downstream.Downstream(correct, attacked, rows, rows[::-1], norms)
    section = sections.downstream(found)
    told = {row.name: row for row in section.rows}
    means = {name: row.mean for name, row in told.items()}
    assert means == {
        "mlp_reconstruction_clean": 7 / 8,
        "mlp_reconstruction_attacked": 2 / 4,
        "mlp_reconstruction_drop": -1 / 4,
        "conv_reconstruction_clean": 6 / 8,
        "conv_reconstruction_attacked": 1 / 4,
        "conv_reconstruction_drop": -1 / 4,
        "mlp_latents_clean": 5 / 8,
        "mlp_latents_attacked": 0,
        "mlp_latents_drop": -1 / 4,
        "distortion_norm": 3.0,
    }
    for row in section.rows:
        assert row.lower <= row.mean <= row.upper
    assert (
        told["mlp_latents_attacked"].meaning == "MLP of latents: accuracy on the 4 attacked images"
    )
    assert told["distortion_norm"].unit == "L₂"


def _headline(pairs, fired=()):
    """What the page says first of pairs of which the odd ones have no gap to close."""
    count = 3 * len(pairs)
    has_gap = np.repeat(np.array(pairs) % 2 == 0, 3)
    records = {
        "pair": np.repeat(np.arange(len(pairs)), 3),
        "weight": np.tile([0.01, 1.0, 100.0], len(pairs)),
        "distortion_norm": np.tile([4.0, 2.0, 0.0], len(pairs)),
        "target_distance": np.full(count, 8.0),
        "closed_share": np.where(has_gap, np.tile([1.0, 0.6, 0.0], len(pairs)), np.nan),
        "target_loss": np.full(count, 20.0),
        "floor": np.full(count, 8.0),
        "ceiling": np.where(has_gap, 40.0, 8.0),
        "loss": np.tile([1.0, 4.0, 10.0], len(pairs)),
        "divergence": np.tile([0.5, 3.0, 10.0], len(pairs)),
        "unattacked_divergence": np.full(count, 10.0),
        "evaluations": np.full(count, 4),
        "status": np.zeros(count, int),
    }
    without = np.full(21, np.nan)
    blending = np.stack([distortion.BLENDING_RATIOS if p % 2 == 0 else without for p in pairs])
    battery = types.SimpleNamespace(options={"objective": "latent_kl"})
    diagnoses = [types.SimpleNamespace(name=name, fired=name in fired) for name in ("one", "two")]
    summary = batteries.summarise(records, blending)
    attacked = attack_sections.Attacked(battery, records, summary, diagnoses, {})
    (sentence,) = attack_sections.headline([attacked])
    return sentence


def test_the_headline_says_what_an_attack_is_worth_and_of_how_many_pairs():
    # The area that test_robustness.py counts by hand.
    assert _headline([0, 2, 1]) == (
        "latent_kl: area above blending 0.275 [0.275, 0.275], where 0 is no gain, over the 2 of 3 "
        "pairs that have a gap to close; half of the gap is closed by a distortion of 21% of the "
        "way to the target. None of 2 checks of the attack fired."
    )
    assert "above blending 0.275 (one pair, so no interval), where" in _headline([0])
    assert "(one pair, so no interval), where 0 is no gain, over the 1 of 2" in _headline([0, 1])
    nothing = _headline([1, 3], fired=("two",))
    assert nothing.startswith("latent_kl: no pair has a gap to close, since targets")
    assert nothing.endswith(
        " 1 of 2 checks of the attack fired (two): no evidence of robustness until they are "
        "resolved."
    )


def test_a_report_says_what_the_model_is_and_how_it_was_trained():
    defences = {"adversarial": {"radius": 8.0}, "input_noise": {"noise": 0.2}}
    model = SeatbeltVAE((32, 32, 1), (4, 3), free_bits=0.25, defences=defences)
    config = {"data": {"name": "sprites"}, "training": {"steps": 7, "xla": False}}
    found = sections.facts(model, config)
    assert found["defences"].startswith("adversarial (radius 8.0, steps 2, ")
    assert found["defences"].endswith("), input_noise (noise 0.2)")
    assert (found["free_bits"], found["training"]) == ("0.25", "steps 7, xla False")
    assert found["latent units by layer, bottom first"] == "4, 3"
    plain = sections.facts(SeatbeltVAE((32, 32, 1), (4,)), {"data": config["data"]})
    assert (plain["defences"], plain["training"]) == ("none", "")
