"""What is registered is found by its name; a `Rows` gives the rows that it is made of."""

import numpy as np
import pytest

from seatbelt_tf import datasets
from seatbelt_tf.attacks import objectives
from seatbelt_tf.datasets import registry
from seatbelt_tf.defences import base


@pytest.mark.parametrize(
    ("module", "table", "parent"),
    [(objectives, "_OBJECTIVES", objectives.Objective), (base, "_DEFENCES", base.Defence)],
)
def test_what_is_registered_is_found_by_its_name(module, table, parent, monkeypatch):
    monkeypatch.setattr(module, table, dict(getattr(module, table)))
    own = type("Own", (parent,), {})
    register = {objectives: objectives.register, base: base.register}[module]
    assert register("own")(own) is own
    assert module.find("own") is own
    with pytest.raises(ValueError, match="own"):
        module.find("owm")


class _Brightness(registry.Source):
    """Images of one brightness, their place."""

    name = "brightness"
    image_sizes = (4, 2)

    def __init__(self, rest="", max_unreadable=0):
        self.given = rest, max_unreadable

    def info(self, data_dir):
        return registry.DatasetInfo(
            *("brightness", (4, 4, 1), {"test": 3}, {"level": 5}, None),
            *("made here", "none", "nothing to get"),
        )

    def check(self, data_dir):
        pass

    def open(self, split, image_size, data_dir):
        images = np.arange(5, dtype=np.uint8)[:, None, None, None]
        images = np.tile(images, (1, image_size, image_size, 1))
        return registry.Rows(images, np.arange(5, dtype=np.int32), np.array([4, 0, 2]))


@pytest.fixture
def brightness(monkeypatch):
    monkeypatch.setattr(registry, "_SOURCES", dict(registry._SOURCES))
    monkeypatch.setattr(registry, "_PREFIXES", dict(registry._PREFIXES))
    assert registry.register(_Brightness) is _Brightness
    assert registry.register_prefix("bright")(_Brightness) is _Brightness


def test_a_registered_dataset_is_loaded_by_its_name(brightness):
    assert "brightness" in datasets.names()
    batches = datasets.load("brightness", "test", batch_size=2, with_labels=True, as_uint8=True)
    images, labels = zip(*batches.as_numpy_iterator(), strict=True)
    np.testing.assert_array_equal(np.concatenate(labels), [4, 0, 2])
    np.testing.assert_array_equal(np.concatenate(images)[:, 3, 3, 0], [4, 0, 2])


def test_a_registered_prefix_gets_the_rest_of_the_name(brightness):
    assert registry.find("bright:a:b", 3).given == ("a:b", 3)


def test_a_size_is_the_sources_own_unless_one_that_it_has_is_given(brightness):
    source = registry.find("brightness")
    assert [registry.supported_size(source, size) for size in (None, 2, 4)] == [4, 2, 4]
    with pytest.raises(ValueError, match="one of 4, 2"):
        registry.supported_size(source, 3)


def test_rows_are_those_of_the_arrays_that_are_asked_for():
    images, labels = np.arange(12).reshape(6, 1, 1, 2), np.arange(6) * 10
    rows = registry.Rows(images, labels, np.array([5, 1, 3]))
    np.testing.assert_array_equal(rows.images(np.array([2, 0]))[:, 0, 0], [[6, 7], [10, 11]])
    np.testing.assert_array_equal(rows.labels(np.array([2, 0])), [30, 50])
