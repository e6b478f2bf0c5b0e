"""Sheets of images: reconstructions, grids, traversals and attack panels."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from seatbelt_tf import checks
from seatbelt_tf.figures import arguments
from seatbelt_tf.figures.layout import sheet


def reconstructions(
    images: ArrayLike, reconstructions: ArrayLike, *, columns: int = 12, title: str | None = None
) -> Figure:
    """Draws inputs over their reconstructions, in as many pairs of rows as needed.

    Args:
      images: (M, H, W, C) floats in [-1, 1].
      reconstructions: (M, H, W, C) floats in [-1, 1], one for each of `images`.
      columns: the most pairs side by side; pairs are spread evenly over the rows.
      title: text above the sheet, or None.

    Returns:
      A `Figure`.

    Raises:
      ValueError: on a wrong rank, channel count, dtype or shape, on images that are not finite, or
        on `columns` below 1.
    """
    images = arguments.images("images", images)
    reconstructions = arguments.images("reconstructions", reconstructions, images.shape)
    count = len(images)
    bands = -(-count // checks.positive_integer("columns", columns))
    columns = -(-count // bands)
    starts = range(0, count, columns)
    return sheet(
        [half[i : i + columns] for i in starts for half in (images, reconstructions)],
        row_labels=["input", "reconstruction"] * len(starts),
        row_breaks=range(2, 2 * len(starts), 2),
        title=title,
    )


def image_grid(images: ArrayLike, *, columns: int = 8, title: str | None = None) -> Figure:
    """Draws images row by row, for prior samples or a look at a dataset.

    Args:
      images: (M, H, W, C) floats in [-1, 1].
      columns: images to a row.
      title: text above the sheet, or None.

    Returns:
      A `Figure`.

    Raises:
      ValueError: as `reconstructions`.
    """
    images = arguments.images("images", images)
    columns = checks.positive_integer("columns", columns)
    return sheet([images[i : i + columns] for i in range(0, len(images), columns)], title=title)


def traversals(
    images: ArrayLike,
    *,
    labels: Sequence[str] | None = None,
    values: ArrayLike | None = None,
    title: str | None = None,
) -> Figure:
    """Draws latent traversals: a row for each unit, a column for each value that it was set to.

    Args:
      images: (units, steps, H, W, C) floats in [-1, 1].
      labels: `units` strings such as "z4[2]", or None.
      values: (steps,) the value in each column, in standard deviations of the unit's
        posterior means, or None.
      title: text above the sheet, or None.

    Returns:
      A `Figure`.

    Raises:
      ValueError: on a wrong rank, channel count or dtype, on images or values that are not finite,
        or when `labels` or `values` do not match `images`.
    """
    images = arguments.images("images", images, rank=5)
    units, steps = images.shape[:2]
    headers = None
    if values is not None:
        values = arguments.vector("values", values, steps)
        headers = [f"{value:.3g}".replace("-", "−") for value in values]
    return sheet(
        list(images),
        row_labels=arguments.labels("labels", labels, units),
        headers=headers,
        header_title=None
        if headers is None
        else "latent value (standard deviations of its posterior means)",
        title=title,
    )


def attack_panel(
    images: ArrayLike,
    reconstructions: ArrayLike,
    adversarial: ArrayLike,
    adversarial_reconstructions: ArrayLike,
    targets: ArrayLike,
    target_reconstructions: ArrayLike | None = None,
    *,
    labels: Sequence[str] | None = None,
    distortion_scale: float | None = None,
    title: str | None = None,
) -> Figure:
    """Draws attacks as the paper's figures 1 and 4 do, one to a row.

    Columns: input, its reconstruction, adversarial input, its reconstruction, distortion, target
    and the target's reconstruction. The distortion d = adversarial - input is multiplied by the
    factor printed under it, beside ‖d‖₂ (unscaled, over all pixels and channels); mid-grey is 0.

    Args:
      images, reconstructions, adversarial, adversarial_reconstructions, targets: (R, H, W, C)
        floats in [-1, 1], a row of the figure for each leading index.
      target_reconstructions: (R, H, W, C) floats in [-1, 1], or None to leave the column out.
      labels: R row labels such as "λ = 1" or "$λ = 2^{-20}$" (mathtext), or None.
      distortion_scale: the factor for every row, or None to give each row the largest factor (to
        one significant digit) at which its distortion stays in [-1, 1].
      title: text above the panel, or None.

    Returns:
      A `Figure`.

    Raises:
      ValueError: on a wrong rank, channel count, dtype or shape, on images that are not finite, on
        the wrong number of labels, or a `distortion_scale` that is not positive and finite.
    """
    images = arguments.images("images", images)
    shape = images.shape
    adversarial = arguments.images("adversarial", adversarial, shape)
    distortions = adversarial - images
    if distortion_scale is None:
        scales = [_display_scale(np.abs(distortion).max()) for distortion in distortions]
    elif np.isfinite(distortion_scale) and distortion_scale > 0:
        scales = [distortion_scale] * len(images)
    else:
        raise checks.invalid("distortion_scale", "a positive, finite number", distortion_scale)
    attacked = arguments.images("adversarial_reconstructions", adversarial_reconstructions, shape)
    columns = {
        "input": images,
        "input's\nreconstruction": arguments.images("reconstructions", reconstructions, shape),
        "adversarial\ninput": adversarial,
        "adversarial\nreconstruction": attacked,
        "distortion": distortions * np.reshape(scales, (-1, 1, 1, 1)),
        "target": arguments.images("targets", targets, shape),
    }
    if target_reconstructions is not None:
        reconstructed = arguments.images("target_reconstructions", target_reconstructions, shape)
        columns["target's\nreconstruction"] = reconstructed
    norms = np.sqrt(np.sum(np.square(distortions), axis=(1, 2, 3)))
    return sheet(
        list(zip(*columns.values(), strict=True)),
        row_labels=arguments.labels("labels", labels, len(images)),
        headers=list(columns),
        column_breaks=(2, 4, 5),
        captions={
            (row, 4): f"×{scale:g}, ‖d‖₂ = {norm:.3g}"
            for row, (scale, norm) in enumerate(zip(scales, norms, strict=True))
        },
        title=title,
    )


def _display_scale(largest):
    """The largest one-digit factor that keeps `largest` within 1; 1 for no distortion at all."""
    if largest == 0:
        return 1.0
    exponent = np.floor(-np.log10(largest))
    # The small excess keeps 1/0.25 = 4 from being floored to 3 by rounding.
    return float(np.floor(1 / largest / 10**exponent * (1 + 1e-9)) * 10**exponent)
