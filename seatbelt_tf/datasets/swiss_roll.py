"""The Swiss roll of figure A.7: points in three dimensions on a rolled-up sheet.

The sheet of Marsland (2009, *Machine Learning: An Algorithmic Perspective*), as scikit-learn's
`make_swiss_roll` without noise has it: t = 1.5π (1 + 2u), u and v uniform in [0, 1], and the point
is (t cos t, 21 v − 10.5, t sin t), here divided by 4.5π, so that all coordinates lie in [−1, 1] and
angles are kept. The figure shows a two-dimensional latent space of three-dimensional data.

Points are drawn when asked for, from hashes of their number.
"""

import os

import numpy as np

from seatbelt_tf.datasets.order import uniform
from seatbelt_tf.datasets.registry import DatasetInfo, Images, Source, register

FACTORS = {"angle": 64, "height": 16}
_SIZES = {"train": 20_000, "validation": 2_000, "test": 2_000}
_SEED = 2021
_OUTERMOST = 4.5 * np.pi
_HEIGHT = 21.0


def points(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Places on the sheet (M,) in [0, 1] -> float32 (M, 3) in [−1, 1]."""
    t = 1.5 * np.pi * (1 + 2 * u)
    roll = np.stack([t * np.cos(t), _HEIGHT * (v - 0.5), t * np.sin(t)], axis=-1)
    return (roll / _OUTERMOST).astype(np.float32)


class _Points(Images):
    """Consecutive numbers from `start` on."""

    def __init__(self, start):
        self._start = start

    def _sheet(self, places):
        return tuple(uniform(self._start + places, _SEED, axis) for axis in (0, 1))

    def images(self, places):
        return points(*self._sheet(places))

    def labels(self, places):
        columns = [
            (place * count).astype(np.int32)
            for place, count in zip(self._sheet(places), FACTORS.values(), strict=True)
        ]
        return np.stack(columns, axis=-1)


@register
class SwissRoll(Source):
    """Points, not images: `load` gives float32 (M, 3); the labels are cells of the sheet."""

    name = "swiss_roll"
    image_sizes = (None,)

    def info(self, data_dir: str | os.PathLike | None) -> DatasetInfo:  # noqa: ARG002
        return DatasetInfo(
            name=self.name,
            shape=(3,),
            splits=dict(_SIZES),
            factors=dict(FACTORS),
            labels=None,
            source="drawn by seatbelt_tf: scikit-learn's make_swiss_roll without noise, scaled",
            licence="Apache-2.0, as this package",
            how_to_get="nothing to get: the points are drawn when asked for",
        )

    def check(self, data_dir: str | os.PathLike | None) -> None:
        """Nothing can be missing: the points are drawn."""

    def open(
        self,
        split: str,
        image_size: int | None,  # noqa: ARG002
        data_dir: str | os.PathLike | None,  # noqa: ARG002
    ) -> Images:
        start = {"train": 0, "validation": 20_000, "test": 22_000}[split]
        return _Points(start)
