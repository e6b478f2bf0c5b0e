"""The rendered dSprites grid, against dSprites' published description."""

import itertools

import numpy as np
import pytest

from seatbelt_tf import datasets
from seatbelt_tf.datasets import sprites

EVERY_MASK = np.array([(s, k, o, 9, 21) for s in range(3) for k in range(6) for o in range(40)])


def test_indices_count_factor_combinations_with_the_last_factor_fastest():
    combinations = itertools.product(range(3), range(6), range(40), range(32), range(32))
    head = np.array(list(itertools.islice(combinations, 5000)), np.int32)
    np.testing.assert_array_equal(sprites.factors(np.arange(5000)), head)
    np.testing.assert_array_equal(sprites.factors([737_279]), [[2, 5, 39, 31, 31]])
    assert sprites.factors(np.arange(3)).dtype == np.int32


def test_index_inverts_factors():
    indices = np.random.default_rng(0).integers(0, 737_280, 1000)
    np.testing.assert_array_equal(sprites.index(sprites.factors(indices)), indices)


def test_factor_values_are_those_of_dsprites():
    values = sprites.values(np.array([[0, 0, 0, 0, 0], [2, 5, 39, 31, 31], [1, 2, 13, 1, 30]]))
    expected = [
        [1, 0.5, 0, 0, 0],
        [3, 1, 2 * np.pi, 1, 1],
        [2, 0.7, 26 * np.pi / 39, 1 / 31, 30 / 31],
    ]
    # float32 rounding of values up to 2π.
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_images_are_binary_bytes_and_never_touch_the_border():
    corners = np.array(list(itertools.product(range(3), [5], range(40), [0, 31], [0, 31])))
    images = sprites.render(sprites.index(corners))
    assert images.shape == (480, 64, 64, 1)
    assert images.dtype == np.uint8
    assert set(np.unique(images)) == {0, 255}
    border = np.ones((64, 64, 1), bool)
    border[1:-1, 1:-1] = False
    assert not images[:, border].any()


def test_each_image_is_the_thresholded_outline_at_its_factors():
    """An oracle that shares no code: implicit equations, 20×20 samples a pixel, no lookup table.

    A pixel whose coverage is within 0.05 of half may fall either way with another sampling.
    """
    rng = np.random.default_rng(1)
    indices = rng.integers(0, 737_280, 24)
    samples = (np.arange(64 * 20) + 0.5) / 20 - 0.5
    down, right = np.meshgrid(samples, samples, indexing="ij")
    images = sprites.render(indices)[..., 0] == 255
    for image, (shape, scale, angle, x, y) in zip(
        images, sprites.values(sprites.factors(indices)), strict=True
    ):
        u, v = right - (16.3 + 31 * x), down - (16.15 + 31 * y)
        u, v = (
            (np.cos(angle) * u + np.sin(angle) * v) / scale,
            (np.cos(angle) * v - np.sin(angle) * u) / scale,
        )
        if shape == 1:
            inside = np.maximum(abs(u), abs(v)) <= 9.2
        elif shape == 2:
            inside = (u / 13) ** 2 + (v / 6.5) ** 2 <= 1
        else:
            inside = _inside_heart(u, v)
        coverage = inside.reshape(64, 20, 64, 20).mean(axis=(1, 3))
        sure = abs(coverage - 0.5) > 0.05
        np.testing.assert_array_equal(image[sure], coverage[sure] > 0.5)


def _inside_heart(u, v):
    """Between the heart curve's upper and lower arc at each abscissa, area 278."""
    unit = np.sqrt(278 / (180 * np.pi))
    t = np.linspace(0, np.pi, 40_001)
    x = unit * 16 * np.sin(t) ** 3
    y = unit * (13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    middle = (y.max() + y.min()) / 2
    top, bottom = t <= np.pi / 2, t >= np.pi / 2
    upper = np.interp(abs(u), x[top], y[top])
    lower = np.interp(abs(u), x[bottom][::-1], y[bottom][::-1])
    height = middle - v
    return (abs(u) <= unit * 16) & (lower <= height) & (height <= upper)


def test_white_pixels_grow_with_the_square_of_scale():
    areas = _areas()
    ratio = areas.mean(axis=2) / areas[:, 5:].mean(axis=2)
    # Thresholding moves an outline by a fraction of a pixel: a few per cent of the smallest area.
    np.testing.assert_allclose(ratio, np.tile(np.linspace(0.5, 1, 6) ** 2, (3, 1)), atol=0.01)


def test_the_mean_pixel_is_the_one_published_for_dsprites():
    # 0.0424944 is the mean of the real file, as disentanglement libraries normalise by it.
    assert _areas().mean() / 4096 == pytest.approx(0.0424944, rel=0.005)


def _areas():
    images = sprites.render(sprites.index(EVERY_MASK))
    return np.count_nonzero(images, axis=(1, 2, 3)).reshape(3, 6, 40)


def test_all_masks_differ_except_the_two_ends_of_the_full_turn():
    images = sprites.render(sprites.index(EVERY_MASK)).reshape(3, 6, 40, -1)
    np.testing.assert_array_equal(images[:, :, 0], images[:, :, 39])
    assert len(np.unique(images[:, :, :39].reshape(702, -1), axis=0)) == 702


def test_positions_shift_the_image_by_whole_pixels():
    factors = np.array([[2, 3, 7, 4, 5], [2, 3, 7, 5, 5], [2, 3, 7, 4, 6]])
    base, right, below = sprites.render(sprites.index(factors))
    np.testing.assert_array_equal(right, np.roll(base, 1, axis=1))
    np.testing.assert_array_equal(below, np.roll(base, 1, axis=0))


def test_the_splits_are_disjoint_and_cover_the_grid():
    sizes = datasets.info("sprites").splits
    assert sizes == {"train": 663_552, "validation": 36_864, "test": 36_864}
    source = sprites.Sprites()
    indices = []
    for split, size in sizes.items():
        labels = source.open(split, 64, None).labels(np.arange(size))
        indices.append(sprites.index(labels))
    np.testing.assert_array_equal(np.sort(np.concatenate(indices)), np.arange(737_280))


def test_the_splits_never_change():
    # Recorded when the splits were made; another value would mix test images into training.
    first = sprites.index(sprites.Sprites().open("test", 64, None).labels(np.arange(4)))
    np.testing.assert_array_equal(first, [218658, 710530, 75748, 106519])


def test_half_size_images_are_block_means():
    full = sprites.Sprites().open("test", 64, None).images(np.arange(5)).astype(float)
    half = sprites.Sprites().open("test", 32, None).images(np.arange(5))
    blocks = sum(full[:, i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4
    np.testing.assert_allclose(half, blocks, atol=0.5)


@pytest.mark.parametrize("indices", [[-1], [737_280], [0.5], [[1]], 3, ["1"]])
def test_bad_indices_are_refused(indices):
    with pytest.raises(ValueError, match="Invalid value for indices"):
        sprites.render(np.array(indices))


@pytest.mark.parametrize(
    "factors", [[[0, 0, 0, 0]], [[0, 0, 40, 0, 0]], [[0, 0, 0, -1, 0]], [[0.5] * 5]]
)
def test_bad_factors_are_refused(factors):
    with pytest.raises(ValueError, match="Invalid value for factors"):
        sprites.index(np.array(factors))


def test_no_indices_give_no_images():
    assert sprites.render(np.array([], np.int64)).shape == (0, 64, 64, 1)
