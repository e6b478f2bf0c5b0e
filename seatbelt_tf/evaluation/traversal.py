"""Latent traversals: what a single unit does to the decoded image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seatbelt_tf import checks, gaussians

if TYPE_CHECKING:
    from seatbelt_tf.model import SeatbeltVAE


def traverse(
    model: "SeatbeltVAE",
    images: np.ndarray,
    units: int = 8,
    values: Sequence[float] = (-2, -1, 0, 1, 2),
) -> tuple[np.ndarray, list[str]]:
    """Images decoded while one latent unit moves and all others stay at the first image's means.

    Of all layers' units the most informative are taken, by the mean KL of the posteriors from a
    Gaussian with the mean and variance of their aggregate.

    Args:
        model: a `SeatbeltVAE`.
        images: (M, H, W, C): the first is traversed, all of them measure the units.
        units: how many units at most.
        values: where the unit goes, in standard deviations of its posterior means over `images`
            from their mean.

    Returns:
        (images, names): (units, len(values), H, W, C) and a list such as "z1[17]", the layer
        counted from 1 and the unit from 0.

    Raises:
        ValueError: a single image, whose means do not vary, no units, or no values.
    """
    checks.positive_integer("units", units)
    if len(images) < 2 or not len(values):
        raise checks.invalid(
            "images and values", "two images or more and a value", (len(images), len(values))
        )
    posteriors = model.encode(images)
    informative = []
    for layer, posterior in enumerate(posteriors):
        centre, spread = np.mean(posterior.mean, axis=0), np.std(posterior.mean, axis=0)
        aggregate = gaussians.Gaussian(centre, np.sqrt(spread**2 + np.mean(posterior.stddev**2, 0)))
        divergence = np.mean(gaussians.kl_by_unit(posterior, aggregate), axis=0)
        informative += [
            (-divergence[unit], layer, unit, centre[unit], spread[unit])
            for unit in range(len(divergence))
        ]
    chosen = sorted(informative)[:units]
    first = [np.repeat(mean[:1], len(values) * len(chosen), axis=0) for mean, _ in posteriors]
    for row, (_, layer, unit, centre, spread) in enumerate(chosen):
        places = slice(row * len(values), (row + 1) * len(values))
        first[layer][places, unit] = centre + spread * np.asarray(values)
    decoded = model.decode(first).numpy()
    return (
        decoded.reshape(len(chosen), len(values), *decoded.shape[1:]),
        [f"z{layer + 1}[{unit}]" for _, layer, unit, *_ in chosen],
    )
