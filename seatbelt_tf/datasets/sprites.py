"""The built-in dataset `sprites`: the factor grid of dSprites, rendered from an index.

dSprites (Matthey, Higgins, Hassabis and Lerchner 2017,
https://github.com/google-deepmind/dsprites-dataset) holds every combination of 3 shapes × 6 scales
× 40 orientations × 32 × 32 positions of a white sprite on black, 737,280 binary images of 64×64.
Here the same grid, in the same order (position y fastest, shape slowest), is drawn from our own
outlines: each of the 720 (shape, scale, orientation) masks is rendered once with 8×8 samples a
pixel and thresholded at half coverage, and an image is a mask pasted at a whole-pixel position.

Deviations from the real dSprites:
- The outlines are ours: a square of side 18.4 pixels, an ellipse of semi-axes 13 and 6.5 and the
  heart curve x = 16 sin³t, y = 13 cos t − 5 cos 2t − 2 cos 3t − cos 4t, all at scale 1. Sizes are
  chosen so that the share of white pixels over the whole set is the real one's, 0.0425; the shares
  of the single shapes (1.6 % to 8.1 % of the pixels) need not be.
- Positions differ by whole pixels: the centre goes from 16.3 to 47.3 across and from 16.15 to 47.15
  down (0 is the middle of the first pixel), in steps of exactly one, and no sprite is cut off.
- Orientation 0 is upright and angles turn clockwise on the screen.

Like the real file, the 40 orientations are linspace(0, 2π, 40), which has both 0 and 2π: images
that differ only in orientation 0 against 39 are equal pixel by pixel, also across splits.
"""

import functools
import os

import numpy as np

from seatbelt_tf import checks
from seatbelt_tf.datasets.order import permutation
from seatbelt_tf.datasets.registry import DatasetInfo, Images, Source, register

IMAGE_SIZE = 64
FACTORS = {"shape": 3, "scale": 6, "orientation": 40, "position_x": 32, "position_y": 32}
SIZE = 737_280
SHAPES = ("square", "ellipse", "heart")

_GRID = tuple(FACTORS.values())
_SQUARE_SIDE = 18.4
_ELLIPSE_SEMI_AXES = (13.0, 6.5)
_HEART_AREA = 278.0
# A sprite centred on a pixel keeps its symmetries, and then neighbouring orientations of small
# squares come out equal; at this offset (pixels right, down) all 3 × 6 × 39 masks are distinct.
_CENTRE_OFFSET = (0.3, 0.15)
_SCALES = np.linspace(0.5, 1.0, 6)
_POSITIONS = 32
_FIRST_CENTRE = 16
_PATCH = 29
_SAMPLES = 8
# A multiple of 39, so that a turn by one orientation step is a whole number of angle bins.
_ANGLES = 39 * 512
_SPLIT_SEED = 2017
_HELD_OUT = SIZE // 20


def _outlines() -> np.ndarray:
    """Distance from the centre to the outline at scale 1, in pixels: (3 shapes, _ANGLES).

    Angle bin k is the direction 2π(k + 1/2)/_ANGLES from the right, clockwise on the screen. All
    three shapes are star-shaped about their centre, so this determines them.
    """
    angles = 2 * np.pi * (np.arange(_ANGLES) + 0.5) / _ANGLES
    cosine, sine = np.cos(angles), np.sin(angles)
    square = _SQUARE_SIDE / 2 / np.maximum(np.abs(cosine), np.abs(sine))
    wide, high = _ELLIPSE_SEMI_AXES
    ellipse = 1 / np.sqrt((cosine / wide) ** 2 + (sine / high) ** 2)
    t = np.linspace(0, 2 * np.pi, 20_001)
    # The curve's area is 180π, by Green's theorem.
    unit = np.sqrt(_HEART_AREA / (180 * np.pi))
    x = unit * 16 * np.sin(t) ** 3
    y = -unit * (13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    y -= (y.min() + y.max()) / 2
    heart = np.interp(angles, np.arctan2(y, x) % (2 * np.pi), np.hypot(x, y), period=2 * np.pi)
    return np.stack([square, ellipse, heart])


@functools.lru_cache(maxsize=1)
def _windows() -> np.ndarray:
    """Read-only view (720, 32, 32, 64, 64): the image of [mask, 31 − y, 31 − x], never stored.

    Each mask sits on a black canvas of 95×95, of which an image is a 64×64 window.
    """
    axis = (np.arange(_PATCH * _SAMPLES) + 0.5) / _SAMPLES - _PATCH / 2
    down, right = np.meshgrid(axis - _CENTRE_OFFSET[1], axis - _CENTRE_OFFSET[0], indexing="ij")
    bins = (np.arctan2(down, right) % (2 * np.pi) * (_ANGLES / (2 * np.pi))).astype(np.int64)
    bins %= _ANGLES
    radius = np.hypot(down, right).astype(np.float32)
    canvas_size = IMAGE_SIZE + _POSITIONS - 1
    start = _FIRST_CENTRE - _PATCH // 2 + _POSITIONS - 1
    patch = slice(start, start + _PATCH)
    masks = np.zeros((*_GRID[:3], canvas_size, canvas_size), np.uint8)
    for shape, outline in enumerate(_outlines().astype(np.float32)):
        for orientation in range(_GRID[2]):
            turned = np.roll(outline, orientation * (_ANGLES // 39))
            needed_scale = radius / turned[bins]
            for scale, value in enumerate(_SCALES):
                inside = needed_scale <= value
                blocks = inside.reshape(_PATCH, _SAMPLES, _PATCH, _SAMPLES)
                coverage = np.count_nonzero(blocks, axis=(1, 3))
                full = coverage >= _SAMPLES**2 / 2
                masks[shape, scale, orientation, patch, patch] = np.where(full, 255, 0)
    masks = masks.reshape(-1, canvas_size, canvas_size)
    return np.lib.stride_tricks.sliding_window_view(masks, (IMAGE_SIZE, IMAGE_SIZE), axis=(1, 2))


def factors(indices: np.ndarray) -> np.ndarray:
    """The factor indices of images, in dSprites' order.

    Args:
      indices: integers (M,) in [0, 737280).

    Returns:
      int32 (M, 5): shape, scale, orientation, position x, position y.

    Raises:
      ValueError: indices that are not integers, not one-dimensional or out of range.
    """
    indices = np.asarray(indices)
    if indices.ndim != 1 or not (np.issubdtype(indices.dtype, np.integer) or indices.size == 0):
        raise checks.invalid(
            "indices", "integers of shape (M,)", f"shape {indices.shape}, dtype {indices.dtype}"
        )
    if indices.size and not (indices.min() >= 0 and indices.max() < SIZE):
        raise checks.invalid(
            "indices", f"integers in [0, {SIZE})", f"{indices.min()} to {indices.max()}"
        )
    return np.stack(np.unravel_index(indices.astype(np.int64), _GRID), axis=-1).astype(np.int32)


def index(factors: np.ndarray) -> np.ndarray:
    """The inverse of `factors`: integers (M, 5) -> int64 (M,).

    Raises:
      ValueError: factors of another shape, not integers, or out of range.
    """
    factors = np.asarray(factors)
    if factors.ndim != 2 or factors.shape[1] != 5 or not np.issubdtype(factors.dtype, np.integer):
        raise checks.invalid(
            "factors", "integers of shape (M, 5)", f"shape {factors.shape}, dtype {factors.dtype}"
        )
    if np.any(factors < 0) or np.any(factors >= np.array(_GRID)):
        raise checks.invalid(
            "factors",
            f"columns below {_GRID} and none negative",
            f"{factors.min(axis=0)} to {factors.max(axis=0)}",
        )
    return np.ravel_multi_index(tuple(factors.T), _GRID).astype(np.int64)


def values(factors: np.ndarray) -> np.ndarray:
    """The factors' physical values, as dSprites' `latents_values`.

    Args:
      factors: integers (M, 5), as `factors` returns them.

    Returns:
      float32 (M, 5): shape 1 (square), 2 (ellipse), 3 (heart); scale in [0.5, 1]; orientation in
      [0, 2π] radians; positions x (rightwards) and y (downwards) in [0, 1].
    """
    grids = (
        np.arange(1, 4),
        _SCALES,
        np.linspace(0, 2 * np.pi, 40),
        np.linspace(0, 1, _POSITIONS),
        np.linspace(0, 1, _POSITIONS),
    )
    factors = np.asarray(factors)
    columns = [grid[factors[:, column]] for column, grid in enumerate(grids)]
    return np.stack(columns, axis=-1).astype(np.float32)


def render(indices: np.ndarray) -> np.ndarray:
    """Draws images.

    Args:
      indices: integers (M,) in [0, 737280).

    Returns:
      uint8 (M, 64, 64, 1), each pixel 0 or 255.

    Raises:
      ValueError: indices that are not integers, not one-dimensional or out of range.
    """
    shape, scale, orientation, x, y = factors(indices).T
    mask = (shape * _GRID[1] + scale) * _GRID[2] + orientation
    last = _POSITIONS - 1
    return _windows()[mask, last - y, last - x][..., np.newaxis]


@functools.lru_cache(maxsize=1)
def _split_order() -> np.ndarray:
    return permutation(SIZE, _SPLIT_SEED)


class _Rendered(Images):
    """A set of indices, rendered when asked for."""

    def __init__(self, indices: np.ndarray, image_size: int):
        self._indices = indices
        self._image_size = image_size

    def images(self, places):
        images = render(self._indices[places])
        step = IMAGE_SIZE // self._image_size
        if step == 1:
            return images
        blocks = images.reshape(len(images), self._image_size, step, self._image_size, step, 1)
        return np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)

    def labels(self, places):
        return factors(self._indices[places])


@register
class Sprites(Source):
    """Splits: a fixed permutation of the grid, 90 % train, 5 % validation, 5 % test."""

    name = "sprites"
    image_sizes = (64, 32)

    def info(self, data_dir: str | os.PathLike | None) -> DatasetInfo:  # noqa: ARG002
        splits = {"train": SIZE - 2 * _HELD_OUT, "validation": _HELD_OUT, "test": _HELD_OUT}
        return DatasetInfo(
            name=self.name,
            shape=(IMAGE_SIZE, IMAGE_SIZE, 1),
            splits=splits,
            factors=dict(FACTORS),
            labels=None,
            source="drawn by seatbelt_tf on the factor grid of dSprites (Matthey et al. 2017)",
            licence="Apache-2.0, as this package",
            how_to_get="nothing to get: the images are drawn when asked for",
        )

    def check(self, data_dir: str | os.PathLike | None) -> None:
        """Nothing can be missing: the images are drawn."""

    def open(
        self,
        split: str,
        image_size: int | None,
        data_dir: str | os.PathLike | None,  # noqa: ARG002
    ) -> Images:
        train = SIZE - 2 * _HELD_OUT
        bounds = {
            "train": slice(0, train),
            "validation": slice(train, train + _HELD_OUT),
            "test": slice(train + _HELD_OUT, SIZE),
        }
        return _Rendered(_split_order()[bounds[split]], image_size or IMAGE_SIZE)
