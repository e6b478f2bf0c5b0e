"""Downstream classifiers on a model whose latents tell the classes apart by construction."""

import numpy as np
import pytest
import tensorflow as tf
import victims

from seatbelt_tf import attacks
from seatbelt_tf.evaluation import downstream


class Copy:
    """An autoencoder that loses nothing: z = x, decoded to itself."""

    def __call__(self, images):
        return tf.convert_to_tensor(images)

    def embed(self, images):
        return tf.reshape(images, [-1, 64])


def _images(count, seed):
    """Three classes by brightness: −0.6, 0, 0.6 with a little noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    noise = rng.normal(0, 0.1, (count, 8, 8, 1))
    return (0.6 * (labels - 1)[:, None, None, None] + noise).astype(np.float32), labels


TRAIN, TEST = _images(600, 0), _images(150, 1)


def become_the_target(model, images, targets):
    del model, images
    return targets


def stay(model, images, targets):
    del model, targets
    return images


def _evaluate(attack, **options):
    options = {"attacked": 40, "steps": 150, **options}
    return downstream.evaluate(Copy(), TRAIN, TEST, attack=attack, **options)


@pytest.fixture(scope="module")
def unharmed():
    return _evaluate(stay)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int8])
def test_labels_may_be_integers_of_any_width(kind):
    images, labels = TEST[0][:6], TEST[1][:6]

    def attacked(labels):
        return downstream.end_to_end_attack(
            lambda x: tf.reduce_mean(x, [1, 2]) * [[-1.0, 0.0, 1.0]], images, labels, 0.5, steps=3
        )

    np.testing.assert_array_equal(attacked(labels.astype(kind)), attacked(labels))


def test_an_attack_that_succeeds_costs_all_accuracy_and_one_that_does_nothing_costs_none(unharmed):
    misled = _evaluate(become_the_target)
    for task in downstream.TASKS:
        table = misled.accuracies()[task]
        assert table["clean"][0] > 0.97
        assert table["attacked"][0] < 0.05
        assert table["drop"][0] < -0.9
        assert unharmed.accuracies()[task]["drop"] == (0.0, 0.0, 0.0)
    np.testing.assert_array_equal(unharmed.distortion_norm, np.zeros(40))
    labels = TEST[1]
    assert np.all(labels[misled.rows] != labels[misled.target_rows])
    assert len(np.unique(misled.rows)) == 40


def test_the_papers_attack_is_latent_kl_with_a_weight_of_one():
    images, targets = np.random.default_rng(2).uniform(-0.5, 0.5, (2, 3, 4, 4, 1)).astype("f")
    victim = victims.Linear()
    found = downstream.latent_attack(victim, images, targets, max_evaluations=30)
    options = {"objective": "latent_kl", "max_evaluations": 30}
    expected = attacks.attack(victim, images, targets, np.ones(3), **options).adversarial
    np.testing.assert_array_equal(found, expected)
    # Not of all: where no distortion is worth its norm, there is none.
    assert np.any(found != images)


def test_the_attack_end_to_end_flips_a_linear_classifier_where_its_margin_says():
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(64, 3)).astype(np.float32)
    images = rng.uniform(-0.3, 0.3, (6, 8, 8, 1)).astype(np.float32)
    logits = images.reshape(6, 64) @ weights
    labels = logits.argmax(axis=1)
    own = logits[np.arange(6), labels, None]
    slopes = np.linalg.norm(weights.T[None] - weights.T[labels][:, None], axis=2)
    distances = np.where(slopes > 0, (own - logits) / np.maximum(slopes, 1e-9), np.inf).min(axis=1)

    def classify(images):
        return tf.reshape(images, [-1, 64]) @ weights

    for share, flipped in ((0.99, False), (1.01, True)):
        attacked = downstream.end_to_end_attack(classify, images, labels, share * distances)
        norms = np.linalg.norm((attacked - images).reshape(6, -1), axis=1)
        assert np.all(norms <= share * distances * (1 + 1e-4))
        assert np.all((np.argmax(classify(attacked), axis=1) != labels) == flipped)


def test_accuracy_end_to_end_falls_with_the_radius(unharmed):
    found = _evaluate(stay, radii=(1e-4, 1.0, 10.0))
    for task in downstream.TASKS:
        table = found.accuracies()[task]
        assert table[1e-4] == table["attacked"]
        assert table[1e-4][0] > 0.97
        assert table[1.0][0] >= table[10.0][0]
        assert table[10.0][0] < 0.05
    assert "drop" in table
    assert 1.0 not in unharmed.accuracies()[task]


def test_attacks_end_to_end_begin_with_what_they_find_behind_a_stand_in():
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(64, 3)).astype(np.float32)
    images = rng.uniform(-0.3, 0.3, (20, 8, 8, 1)).astype(np.float32)

    def smooth(images):
        return tf.reshape(images, [-1, 64]) @ weights

    def masked(images):
        """Rounded, so that it has no gradient."""
        return smooth(tf.round(8 * images) / 8)

    problem = images, np.argmax(masked(images), axis=1), (0.7,)
    alone, found = (downstream._withstood(masked, begun, *problem) for begun in (None, smooth))
    assert np.mean(found) < 0.1
    assert np.mean(alone) > 0.5


@pytest.mark.parametrize("radii", [(), (1.0,)])
def test_the_stand_in_is_the_surrogate_in_the_models_place(radii, monkeypatch):
    def train(*_, **__):
        return lambda values: tf.reshape(values, [len(values), -1])[:, :3]

    seen = []

    def withstood(through, around, images, *_):
        seen.append((through(images), None if around is None else around(images)))
        return np.zeros((len(radii), len(images)), bool)

    monkeypatch.setattr(downstream.classifiers, "train", train)
    monkeypatch.setattr(downstream, "_withstood", withstood)
    model, opposite = Copy(), Copy()
    opposite.embed = lambda images: -model.embed(images)
    model.surrogate = lambda: opposite
    downstream.evaluate(model, TRAIN, TEST, attacked=4, attack=stay, radii=radii)
    assert len(seen) == 3
    for task, (through, around) in zip(downstream.TASKS, seen, strict=True):
        if radii:
            sign = -1 if task == "mlp_latents" else 1
            np.testing.assert_array_equal(around, sign * through)
        else:
            assert around is None


def test_the_seed_decides_everything():
    first, again = _evaluate(stay, steps=10), _evaluate(stay, steps=10)
    other = _evaluate(stay, steps=1, seed=1)
    np.testing.assert_array_equal(first.rows, again.rows)
    for task in downstream.TASKS:
        np.testing.assert_array_equal(first.correct[task], again.correct[task])
    assert not np.array_equal(first.rows, other.rows)


def test_intervals_hold_the_share_and_the_drop_is_of_the_same_images():
    correct = np.array([True, True, False, True])
    found = downstream.Downstream(
        {"task": correct},
        {"task": np.array([False, True])},
        np.array([1, 3]),
        np.array([0, 0]),
        np.zeros(2),
    )
    table = found.accuracies()["task"]
    assert [table[name][0] for name in ("clean", "attacked", "drop")] == [0.75, 0.5, -0.5]
    assert table["drop"][1:] == (-1.0, 0.0)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (TRAIN[1][:-1], {}, "train labels"),
        (TRAIN[1].astype(float), {}, "train labels"),
        (TRAIN[1] - 1, {}, "train labels"),
        (np.zeros(600, int), {}, "two classes"),
        (TRAIN[1], {"attacked": 151}, "at most the 150"),
        (TRAIN[1], {"attacked": 0}, "attacked"),
        (TRAIN[1], {"steps": 0}, "steps"),
        (TRAIN[1], {"seed": -1}, "seed"),
        (TRAIN[1], {"radii": (1.0, 0.5)}, "radii"),
        (TRAIN[1], {"radii": (0.0, 0.5)}, "radii"),
        (TRAIN[1], {"radii": 1.0}, "radii"),
    ],
)
def test_bad_arguments_are_named(labels, options, message):
    with pytest.raises(ValueError, match=message):
        downstream.evaluate(
            Copy(), (TRAIN[0], labels), TEST, attack=stay, **{"attacked": 40, **options}
        )
