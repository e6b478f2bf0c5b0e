"""The Swiss roll: points on a rolled-up sheet."""

import numpy as np
import pytest
from scipy import stats

from seatbelt_tf import datasets
from seatbelt_tf.datasets import order, registry, swiss_roll


def everything(split):
    batches = list(
        datasets.load(
            "swiss_roll", split, batch_size=4096, shuffle=False, with_labels=True,
            drop_remainder=False,
        )
    )  # fmt: skip
    return tuple(np.concatenate([batch[member] for batch in batches]) for member in (0, 1))


def test_points_lie_on_the_roll_within_the_models_range():
    points, _ = everything("train")
    assert points.shape == (20_000, 3)
    assert points.dtype == np.float32
    assert np.abs(points).max() <= 1
    x, _, z = points.T * 4.5 * np.pi
    radius = np.hypot(x, z)
    # On the spiral radius and angle are the same number; float32 coordinates of size 14.
    turns = (radius - np.arctan2(z, x)) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-5)
    assert radius.min() >= 1.5 * np.pi - 1e-4
    assert radius.max() <= 4.5 * np.pi + 1e-4


def test_the_sheet_is_covered_uniformly():
    points, _ = everything("train")
    radius = np.hypot(points[:, 0], points[:, 2]) * 4.5 * np.pi
    places = (radius / (1.5 * np.pi) - 1) / 2, points[:, 1] * 4.5 * np.pi / 21 + 0.5
    for place in places:
        assert stats.kstest(np.clip(place, 0, 1), "uniform").pvalue > 0.001
    assert abs(stats.spearmanr(*places).statistic) < 0.03


def test_labels_are_cells_of_the_sheet():
    points, labels = everything("test")
    assert labels.dtype == np.int32
    radius = np.hypot(points[:, 0], points[:, 2]) * 4.5 * np.pi
    angle = (radius / (1.5 * np.pi) - 1) / 2 * 64
    height = (points[:, 1] * 4.5 * np.pi / 21 + 0.5) * 16
    # Beside a cell's edge float32 may say the other cell.
    np.testing.assert_allclose(labels + 0.5, np.stack([angle, height], 1), atol=0.5 + 1e-3)


def test_no_point_is_in_two_splits():
    splits = [everything(split)[0] for split in ("train", "validation", "test")]
    assert len(np.unique(np.concatenate(splits), axis=0)) == 24_000


def test_points_never_change():
    # Recorded when they were first drawn.
    drawn = np.floor(order.uniform(np.arange(4), 2021, 0) * 1e6)
    np.testing.assert_array_equal(drawn, [918_016, 347_532, 293_849, 42_919])


def test_it_is_found_by_name():
    assert isinstance(registry.find("swiss_roll"), swiss_roll.SwissRoll)


def test_the_sheets_first_corner_is_where_the_definition_puts_it():
    corner = swiss_roll.points(np.zeros(1), np.ones(1))
    np.testing.assert_allclose(corner, [[0, 10.5 / (4.5 * np.pi), -1 / 3]], atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"as_uint8": True}, "has no bytes"), ({"image_size": 32}, "Expected one of None")],
)
def test_what_makes_no_sense_for_points_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        datasets.load("swiss_roll", batch_size=8, **options)
