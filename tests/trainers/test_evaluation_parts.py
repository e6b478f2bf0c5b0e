"""Parts of an evaluation: kept by model and settings, and classifiers where there are classes."""

import functools

import numpy as np
import pytest
from PIL import Image

from seatbelt_tf import SeatbeltVAE, runs
from seatbelt_tf.evaluation import downstream
from trainers import kept
from trainers.evaluation import output, parts, sections


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
    model = SeatbeltVAE(image_shape=(32, 32, 3), latent_dims=(4, 2))
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


def test_what_is_proven_is_told_of_lipschitz_models_alone(run):
    data = {"name": "sprites", "data_dir": None, "image_size": 64}
    model = SeatbeltVAE((64, 64, 1), (4,), defences={"lipschitz": {"bound": 1.5}})
    found = parts.certificates(parts.Subject(run, data, model), 5)
    np.testing.assert_allclose(found["tolerance"] / found["mean_radius"], 1.5, rtol=1e-3)
    assert found["sample_radius"].shape == (3, 5)
    told = {row.name: row.mean for row in sections.certificates(found).rows}
    assert told["mean_radius_0.25"] == found["mean_radius"][1]
    assert told["certified_0.5_at_1"] == np.mean(found["sample_radius"][2] >= 1)
    plain = SeatbeltVAE((64, 64, 1), (4,))
    assert parts.certificates(parts.Subject(run, data, plain), 5) is None
