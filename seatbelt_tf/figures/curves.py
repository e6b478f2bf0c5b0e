"""Curves of attacks: against their weight, and against their distortion."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from numpy.typing import ArrayLike

from seatbelt_tf import checks
from seatbelt_tf.figures import arguments, canvas


def weight_curves(
    weights: ArrayLike,
    curves: Mapping[str, Any],
    *,
    ylabel: str = "attack loss Δ (nats)",
    log: bool = True,
    title: str | None = None,
) -> Figure:
    """Draws a quantity against the attack's weight λ, with shaded 95 % intervals where given.

    Args:
      weights: (W,) positive λ, drawn on a base-2 logarithmic axis; in any order.
      curves: dict of label to (W,) means, or to a tuple ((W,) means, (2, W) lower and upper ends of
        the 95 % interval).
      ylabel: what the quantity is, with its unit.
      log: whether the quantity's axis is logarithmic; there values of 0 or less run off its foot.
      title: text above the figure, or None.

    Returns:
      A `Figure`.

    Raises:
      ValueError: on shapes that do not match, on values that are not finite, weights that are not
        positive, interval ends in the wrong order, no curves, or no positive mean with `log`.
    """
    weights = arguments.vector("weights", weights)
    if np.any(weights <= 0):
        raise checks.invalid("weights", "positive numbers", weights)
    figure, drawn = _drawn(weights, curves, "λ", ylabel, title)
    (axes,) = figure.axes
    axes.set_xscale("log", base=2)
    if log:
        positive = drawn[drawn > 0]
        if not positive.size:
            raise checks.invalid("curves", "a positive value somewhere when log=True", curves)
        axes.set_yscale("log", nonpositive="clip")
        # Explicit, because clipped values would otherwise drag the axis down to 1e-300.
        pad = max((positive.max() / positive.min()) ** 0.05, 1.1)
        axes.set_ylim(positive.min() / pad, positive.max() * pad)
        if positive.max() < 10 * positive.min():
            axes.yaxis.set_major_formatter(ScalarFormatter())
            axes.yaxis.set_minor_formatter(ScalarFormatter())
    return figure


def distortion_curves(
    norms: ArrayLike,
    curves: Mapping[str, Any],
    *,
    blending: Mapping[str, ArrayLike] | None = None,
    title: str | None = None,
) -> Figure:
    """Draws shares of the gap closed against the distortion's relative norm.

    Args:
      norms: (K,) ‖d‖₂ / ‖x_t − x‖₂ between 0 and 1, in any order.
      curves: dict of label to (K,) mean shares, or to a tuple ((K,) means, (2, K) lower and upper
        ends of the 95 % interval).
      blending: dict of labels of `curves` to (K,) mean shares of mixing the target in, drawn dashed
        in the same colour; or None.
      title: text above the figure, or None.

    Returns:
      A `Figure`.

    Raises:
      ValueError: on shapes that do not match, on values that are not finite, norms out of range,
        interval ends in the wrong order, no curves, or blending of a curve that is not there.
    """
    norms = arguments.vector("norms", norms)
    if np.any((norms < 0) | (norms > 1)):
        raise checks.invalid("norms", "numbers between 0 and 1", norms)
    ylabel = "share of the gap closed"
    dashed = {}
    for label, shares in (blending or {}).items():
        checks.one_of("blending", label, curves)
        dashed[label], _ = arguments.mean_and_interval(f"blending[{label!r}]", shares, len(norms))
    xlabel = "‖d‖₂ / ‖target − input‖₂"
    figure, _ = _drawn(
        norms, curves, xlabel, ylabel, title, dashed, "mixing the target in\n(in the same colours)"
    )
    figure.axes[0].set(xlim=(0, 1), ylim=(0, 1.02))
    return figure


def _drawn(positions, curves, xlabel, ylabel, title, dashed=None, dashed_label=None):
    """Lines with a legend beside, intervals shaded: -> a `Figure`, all numbers drawn (n,).

    dashed: dict of some of the curves' labels to (K,), drawn in their colours.
    """
    if not curves:
        raise checks.invalid("curves", "at least one curve", curves)
    order = np.argsort(positions, kind="stable")
    pairs, drawn = {}, []
    for label, value in curves.items():
        mean, interval = arguments.mean_and_interval(f"curves[{label!r}]", value, len(positions))
        pairs[label] = mean[order], None if interval is None else interval[:, order]
        drawn += [mean, *(() if interval is None else interval)]
    figure = canvas.blank((6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    canvas.lines(axes, positions[order], pairs)
    for label, values in (dashed or {}).items():
        colour = canvas.colour(list(curves).index(label))
        axes.plot(positions[order], values[order], "--", color=colour, lw=1)
    if dashed:
        axes.plot([], [], "--", color="gray", lw=1, label=dashed_label)
    canvas.style(axes, ylabel, xlabel)
    if title is not None:
        axes.set_title(title, fontsize=canvas.TITLE_SIZE, loc="left")
    has_interval = len(drawn) > len(pairs)
    figure.legend(
        loc="outside right upper",
        fontsize=canvas.LABEL_SIZE,
        frameon=False,
        title="shaded: 95 % interval" if has_interval else None,
        title_fontsize=canvas.CAPTION_SIZE,
    )
    return figure, np.concatenate(drawn)
