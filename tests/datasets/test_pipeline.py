"""Order, batching, scaling and refusals of `datasets.load`, on sprites."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from seatbelt_tf import datasets
from seatbelt_tf.datasets.order import batch_places, permutation


def labels_of(split, **options):
    """The indices of the images in the order they come, without needing the images."""
    batches = datasets.load("sprites", split, with_labels=True, as_uint8=True, **options)
    return [datasets.sprites.index(labels.numpy()) for _, labels in batches]


def test_images_are_floats_in_the_models_range():
    batch = next(iter(datasets.load("sprites", split="test", batch_size=64, seed=0)))
    assert batch.shape == (64, 64, 64, 1)
    assert batch.dtype == tf.float32
    assert set(np.unique(batch)) == {-1.0, 1.0}


def test_bytes_scaled_later_equal_floats_scaled_at_once():
    options = {"split": "test", "batch_size": 16, "image_size": 32}
    floats = next(iter(datasets.load("sprites", **options)))
    whole = next(iter(datasets.load("sprites", as_uint8=True, **options)))
    assert whole.dtype == tf.uint8
    np.testing.assert_array_equal(floats, datasets.scale(whole))


@pytest.mark.parametrize("xla", [False, True])
def test_scaled_bytes_lie_exactly_in_range(xla):
    scale = tf.function(datasets.scale, jit_compile=xla)
    scaled = scale(tf.constant(np.arange(256), tf.uint8)).numpy()
    assert scaled[0] == -1
    assert scaled[255] == 1
    # One rounding of a number of magnitude at most 1, in float32.
    np.testing.assert_allclose(scaled, np.arange(256) / 127.5 - 1, rtol=0, atol=1.2e-7)


def test_scaling_twice_is_refused():
    with pytest.raises(ValueError, match="Expected uint8"):
        datasets.scale(np.zeros((2, 2), np.float32))


def test_labels_are_the_factors_of_the_images():
    images, labels = next(iter(datasets.load("sprites", batch_size=32, with_labels=True)))
    drawn = datasets.sprites.render(datasets.sprites.index(labels.numpy()))
    np.testing.assert_array_equal(images, datasets.scale(drawn))


def test_one_epoch_holds_every_image_once():
    batches = labels_of("test", batch_size=1000)
    assert [len(batch) for batch in batches] == [1000] * 36 + [864]
    assert len(np.unique(np.concatenate(batches))) == 36_864


def test_the_remainder_is_dropped_on_request():
    dropped = datasets.load("sprites", "test", batch_size=1000, drop_remainder=True)
    assert dropped.cardinality() == 36
    assert dropped.element_spec.shape == (1000, 64, 64, 1)
    kept = datasets.load("sprites", "test", batch_size=1000)
    assert kept.cardinality() == 37
    assert kept.element_spec.shape == (None, 64, 64, 1)


def test_numpys_integers_are_seeds():
    first, second = (
        next(datasets.load("sprites", batch_size=3, seed=seed, image_size=32).as_numpy_iterator())
        for seed in (np.int64(3), 3)
    )
    np.testing.assert_array_equal(first, second)


def test_only_the_train_split_is_shuffled_unless_asked():
    def first(split, seed, **options):
        return next(iter(datasets.load("sprites", split, batch_size=8, seed=seed, **options)))

    np.testing.assert_array_equal(first("train", 1), first("train", 1))
    assert np.any(first("train", 1) != first("train", 2))
    np.testing.assert_array_equal(first("test", 1), first("test", 2))
    assert np.any(first("test", 1, shuffle=True) != first("test", 2, shuffle=True))
    np.testing.assert_array_equal(
        first("train", 1, shuffle=False), first("train", 2, shuffle=False)
    )


def test_the_parts_of_a_batch_make_it_up_in_order():
    options = {"batch_size": 12, "seed": 3, "repeat": True, "start_step": 5, "as_uint8": True}

    def first(part):
        return next(iter(datasets.load("sprites", "train", part=part, **options))).numpy()

    for parts in (2, 3):
        received = np.concatenate([first((index, parts)) for index in range(parts)])
        np.testing.assert_array_equal(received, first((0, 1)))


@pytest.mark.parametrize("drop_remainder", [True, False])
def test_a_resumed_stream_is_the_uninterrupted_one(drop_remainder):
    options = {
        "batch_size": 10_000,
        "seed": 5,
        "repeat": True,
        "shuffle": True,
        "with_labels": True,
        "as_uint8": True,
        "drop_remainder": drop_remainder,
    }

    def stream(start, count):
        resumed = datasets.load("sprites", "validation", start_step=start, **options)
        return [labels.numpy() for _, labels in resumed.take(count)]

    whole = stream(0, 9)
    for start in (1, 4, 7):
        for expected, received in zip(whole[start:], stream(start, 9 - start), strict=True):
            np.testing.assert_array_equal(received, expected)


def test_one_epoch_can_be_resumed_too():
    rest = datasets.load("sprites", "test", batch_size=10_000, as_uint8=True, start_step=3)
    assert [len(batch) for batch in rest] == [6_864]


def test_an_endless_stream_reshuffles_every_epoch_by_seed_and_epoch():
    places, steps = batch_places(10, 3, seed=4, shuffle=True, drop_remainder=True)
    assert steps == 3
    epochs = [np.concatenate([places(3 * epoch + batch) for batch in range(3)]) for epoch in (0, 1)]
    assert np.any(epochs[0] != epochs[1])
    for epoch, order in enumerate(epochs):
        np.testing.assert_array_equal(order, permutation(10, 4, epoch)[:9])
    endless = datasets.load("sprites", batch_size=3, repeat=True)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY


def test_permutations_are_permutations_and_look_uniform():
    orders = np.array([permutation(7, 0, key) for key in range(7_000)])
    np.testing.assert_array_equal(np.sort(orders), np.tile(np.arange(7), (7_000, 1)))
    counts = [np.bincount(column, minlength=7) for column in orders.T]
    # Binomial(7000, 1/7): mean 1000, standard deviation 29.3; five of them over 49 counts.
    np.testing.assert_allclose(counts, 1000, atol=147)


def test_permutations_never_change():
    # Recorded when they were made: another value would change every split and resumed run.
    np.testing.assert_array_equal(permutation(8, 2017), [5, 2, 6, 7, 1, 0, 4, 3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "sprits"}, "Did you mean 'sprites'"),
        ({"name": None}, "Invalid value for dataset"),
        ({"split": "tset"}, "Invalid value for split. Expected one of train, validation, test"),
        ({"batch_size": 0}, "Invalid value for batch_size"),
        ({"batch_size": -3}, "Invalid value for batch_size"),
        ({"batch_size": 2.5}, "Invalid value for batch_size"),
        ({"batch_size": True}, "Invalid value for batch_size"),
        ({"batch_size": 700_000}, "Expected at most the 663552 images"),
        ({"seed": "a"}, "Invalid value for seed"),
        ({"image_size": 48}, "Expected one of 64, 32"),
        ({"start_step": -1}, "Invalid value for start_step"),
        ({"start_step": 10**6}, "Expected at most the 82944 batches"),
        ({"part": (2, 2)}, "Invalid value for part"),
        ({"part": (0, 3)}, "n a divisor of the 8 images"),
        ({"part": (0, 2), "drop_remainder": False}, "with drop_remainder"),
        ({"data_dir": "/nowhere/at/all"}, "Expected an existing directory"),
    ],
)
def test_bad_input_is_refused_before_anything_is_drawn(options, message, monkeypatch):
    monkeypatch.setattr(datasets.sprites, "render", None)
    with pytest.raises(ValueError, match=message):
        datasets.load(**{"name": "sprites", "batch_size": 8} | options)


def test_names_info_and_check_do_without_tensorflow():
    program = (
        "import json, sys; from seatbelt_tf import datasets as d; d.check('sprites');"
        "shapes = {n: d.info(n).shape for n in d.names()};"
        "print(json.dumps([shapes, 'tensorflow' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    shapes, imported = json.loads(done.stdout)
    assert shapes["sprites"] == [64, 64, 1]
    assert set(shapes) == set(datasets.names())
    assert not done.stderr
    assert not imported


def test_every_dataset_is_fully_described():
    for name in datasets.names():
        info = datasets.info(name)
        assert isinstance(info, datasets.DatasetInfo)
        assert info.name == name
        assert set(info.splits) == {"train", "validation", "test"}
        assert all(size > 0 for size in info.splits.values())
        assert info.source
        assert info.licence
        assert "\n" not in info.how_to_get
