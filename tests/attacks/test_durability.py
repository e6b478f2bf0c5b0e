"""Attacks that go wrong, and batteries that are stopped or damaged."""

import inspect
import re

import numpy as np
import pytest
import tensorflow as tf
import victims
from test_attack import _pairs

from seatbelt_tf import attacks, storage, tensors
from seatbelt_tf.attacks import battery, diagnostics
from seatbelt_tf.evaluation import distortion, robustness

MARKER = 0.125
OPTIONS = {
    "objective": "latent_kl",
    "layers": "all",
    "ancestors": "mean",
    "draws": 2,
    "max_evaluations": 20,
    "restarts": 0,
    "seed": 0,
}


class Poisoned(victims.Linear):
    """NaN wherever an image's first pixel is the marker.

    Row by row: a matrix product's last bits may depend on how many rows it has.
    """

    def mean(self, images):
        mean = tf.reduce_sum(tf.reshape(images, [-1, 16, 1]) * self.encoder, axis=1)
        return tf.where(images[:, :1, 0, 0] == MARKER, float("nan"), mean)


def test_a_poisoned_attack_among_fifty_leaves_the_others_equal_to_the_bit():
    images, targets = _pairs(50)
    weights = np.geomspace(1e-2, 10, 50)
    clean = attacks.attack(Poisoned(), images, targets, weights)
    images = images.copy()
    images[17, 0, 0, 0] = MARKER
    spoilt = attacks.attack(Poisoned(), images, targets, weights)
    assert spoilt.status[17] == attacks.Status.NOT_FINITE
    others = np.arange(50) != 17
    for name, one, other in zip(clean._fields, clean, spoilt, strict=True):
        np.testing.assert_array_equal(one[others], other[others], err_msg=name)
    np.testing.assert_array_equal(spoilt.adversarial[17], images[17])


def _battery(directory, images, targets):
    return battery.Battery(
        Poisoned(), images, targets, attacks.paper_weights(3), directory, OPTIONS, {}
    )


def _records(directory, images, targets):
    return _battery(directory, images, targets).run(lambda done: None)


@pytest.fixture
def pairs(monkeypatch):
    monkeypatch.setattr(battery, "ATTACKS_AT_ONCE", 3)
    return _pairs(2)


def test_a_damaged_part_is_reported_and_computed_again(pairs, tmp_path):
    whole = _records(tmp_path, *pairs)
    first = _battery(tmp_path, *pairs).parts()[0][0]
    first.write_bytes(first.read_bytes()[:-50])
    with pytest.warns(UserWarning, match="part-0000.npz was renamed"):
        again = _records(tmp_path, *pairs)
    assert first.with_suffix(".damaged").exists()
    for name, values in whole.items():
        np.testing.assert_array_equal(values, again[name])


def test_a_part_of_a_version_that_did_not_keep_all_is_solved_again(pairs, tmp_path):
    whole = _records(tmp_path, *pairs)
    first = _battery(tmp_path, *pairs).parts()[0][0]
    kept = {n: values for n, values in tensors.load(first).items() if n != "first_loss"}
    tensors.save(first, kept)
    with pytest.warns(UserWarning, match="part-0000.npz counts as missing"):
        np.testing.assert_array_equal(_battery(tmp_path, *pairs).records()["pair"], [1, 1, 1])
    with pytest.warns(UserWarning, match="part-0000.npz was renamed"):
        again = _records(tmp_path, *pairs)
    for name, values in whole.items():
        np.testing.assert_array_equal(values, again[name])


def test_the_result_within_records_is_what_attacks_without_a_battery_find(pairs, tmp_path):
    records = _records(tmp_path, *pairs)
    found = battery.result_of(records)
    images, targets = (array[records["pair"]] for array in pairs)
    alone = attacks.attack(
        Poisoned(), images, targets, records["weight"], pair_ids=records["pair"], **OPTIONS
    )
    for name, one, other in zip(found._fields, found, alone, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_there_are_no_records_before_a_part_is_finished(pairs, tmp_path):
    with pytest.raises(ValueError, match="a finished part"):
        _battery(tmp_path, *pairs).records()


def test_all_checks_are_made_and_those_that_take_long_once(pairs, tmp_path, monkeypatch):
    attacked = _battery(tmp_path, *pairs)
    records = attacked.run(lambda done: None)
    made = attacked.diagnose(records, (np.zeros(2), np.ones(2)))
    checks = {check.name: check.fired for check in made}
    functions = {
        name
        for name, function in inspect.getmembers(diagnostics, inspect.isfunction)
        if function.__module__ == diagnostics.__name__ and not name.startswith("_")
    }
    # The four that need gradients are one function's.
    assert checks.keys() >= functions - {"diagnose", "gradient_checks"}
    assert len(checks) == len(functions) - 2 + 4
    assert checks["weaker_than_blending"]
    monkeypatch.setattr(attacked, "_computed_again", lambda _: pytest.fail("computed again"))
    quiet = attacked.diagnose(records, (np.ones(2), np.zeros(2)))
    assert not {check.name: check.fired for check in quiet}["weaker_than_blending"]


def test_a_battery_goes_on_in_the_parts_that_it_was_begun_in(pairs, tmp_path, monkeypatch):
    whole = _records(tmp_path, *pairs)
    parts = _battery(tmp_path, *pairs).parts()
    parts[1][0].unlink()
    written = parts[0][0].stat().st_mtime_ns
    monkeypatch.setattr(battery, "ATTACKS_AT_ONCE", 6)
    again = _records(tmp_path, *pairs)
    assert parts[0][0].stat().st_mtime_ns == written
    for name, values in whole.items():
        np.testing.assert_array_equal(values, again[name])
    settings = parts[0][0].with_name("battery.json")
    settings.write_text(settings.read_text().replace('"pairs_at_once": 1', '"pairs_at_once": "1"'))
    with pytest.raises(ValueError, match=r"pairs_at_once of .*a positive integer"):
        _battery(tmp_path, *pairs)


def test_a_battery_of_another_method_is_another(tmp_path, monkeypatch):
    before = _battery(tmp_path, *_pairs(2)).path
    assert _battery(tmp_path, *_pairs(2)).path == before
    monkeypatch.setattr(battery, "METHOD", battery.METHOD + 1)
    assert _battery(tmp_path, *_pairs(2)).path != before


def test_settings_of_a_battery_that_are_none_are_refused(tmp_path):
    settings = _battery(tmp_path, *_pairs(2)).path / "battery.json"
    refused = {"[]": "a JSON object", "{": "Expecting property name", "{}": "a positive integer"}
    settings.parent.mkdir(parents=True)
    for text, message in refused.items():
        settings.write_text(text)
        with pytest.raises(ValueError, match=rf"{re.escape(str(settings))}.*{message}"):
            _battery(tmp_path, *_pairs(2))


def test_a_part_that_another_process_made_is_not_made_again(pairs, tmp_path, monkeypatch):
    whole = _records(tmp_path / "whole", *pairs)
    attacked = _battery(tmp_path / "shared", *pairs)
    solve, made = attacked._solve, []

    def solve_after_another(path, *others):
        made.append(path.name)
        if len(made) == 1:
            # Another process: makes every part that this one does not hold.
            for other, ids in _battery(tmp_path / "shared", *pairs).parts():
                with storage.claim(other) as is_mine:
                    if is_mine:
                        solve(other, ids)
        solve(path, *others)

    monkeypatch.setattr(attacked, "_solve", solve_after_another)
    records = attacked.run(lambda done: None)
    assert made == ["part-0000.npz"]
    for name, values in whole.items():
        np.testing.assert_array_equal(values, records[name])


def test_attacks_that_are_not_finite_are_counted_and_left_out_of_the_summary(tmp_path):
    images, targets = _pairs(2)
    images = images.copy()
    images[1, 0, 0, 0] = MARKER
    summary = battery.summarise(_records(tmp_path, images, targets))
    assert summary["attacks"] == 6
    assert summary["share_not_finite"] == 0.5
    assert all(np.isfinite(value) for value in summary.values())


class PoisonedGradient(victims.Linear):
    """A posterior that is a number wherever the marker is, but has no gradient there."""

    def mean(self, images):
        root = tf.sqrt(tf.where(images[:, :1, :1, :1] == MARKER, 0 * images, 1.0))
        return super().mean(images + root - tf.stop_gradient(root))


def test_an_attack_that_could_not_begin_is_not_one_that_was_withstood(tmp_path):
    images, targets = _pairs(2)
    images = images.copy()
    images[1, 0, 0, 0] = MARKER
    attacked = battery.Battery(
        PoisonedGradient(), images, targets, attacks.paper_weights(3), tmp_path, OPTIONS, {}
    )
    records = attacked.run(lambda done: None)
    failed = records["pair"] == 1
    np.testing.assert_array_equal(records["status"] == attacks.Status.NOT_FINITE, failed)
    for name in ("loss", "closed_share", "target_loss"):
        np.testing.assert_array_equal(np.isnan(records[name]), failed, err_msg=name)
    blending = distortion.blending_shares(attacked.scorer, images, targets)
    found = robustness.by_pair(records, blending)
    assert np.isfinite(found["area_above_blending"][0])
    assert np.isnan(found["area_above_blending"][1])
    assert np.isfinite(battery.summarise(records)["mean_closed_share"])
