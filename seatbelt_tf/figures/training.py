"""The curves of a training log."""

import re
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from numpy.typing import ArrayLike

from seatbelt_tf import checks
from seatbelt_tf.figures import arguments, canvas

_TRAINING_PANELS = (
    ("ELBO (nats)", "(elbo)"),
    ("log p(x | z) (nats)", "(log_likelihood)"),
    ("KL by layer (nats)", r"kl_layer_(\d+)"),
    ("total correlation (nats)", "(total_correlation)"),
    ("learning rate", "(learning_rate)"),
    ("images/s, with validation", "(images_per_second)"),
)


def training_curves(table: Mapping[str, ArrayLike], *, title: str | None = None) -> Figure:
    """Draws a training log against the step, one panel for each quantity that the table holds.

    Panels, each left out when the table has nothing for it: `elbo`, `log_likelihood`, all
    `kl_layer_i` together, `total_correlation` (in nats), `learning_rate` and `images_per_second`.
    A column `val_NAME` is drawn with markers in the panel of NAME. Values that are not finite are
    missing: the points on either side are joined. Where the start of training would flatten the
    rest, the panel shows the range of the last nine tenths and says so.

    Args:
      table: dict of column name to (T,) numbers, with "step". Other columns are ignored.
      title: text above the figure, or None.

    Returns:
      A `Figure`.

    Raises:
      ValueError: without "step", with a step that is not finite, with columns of another rank or
        length, or with nothing to draw.
    """
    if "step" not in table:
        raise checks.invalid("table", 'a column "step"', sorted(table))
    steps = arguments.vector("table['step']", table["step"])
    panels = []
    for ylabel, pattern in _TRAINING_PANELS:
        matches = [re.fullmatch(f"(val_)?{pattern}", name) for name in table]
        series = []
        for match in sorted(filter(None, matches), key=_training_order):
            name = match[0]
            values = arguments.vector(f"table[{name!r}]", table[name], len(steps), finite=False)
            if np.isfinite(values).any():
                series.append((match, values))
        if series:
            panels.append((ylabel, series))
    if not panels:
        raise checks.invalid("table", "a column to draw with a finite value in it", sorted(table))

    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = canvas.blank((3.6 * columns + 0.2, 2.6 * rows + 0.2), layout="constrained")
    for index, (ylabel, series) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        _training_panel(axes, steps, series)
        canvas.style(axes, ylabel, "step" if index + columns >= len(panels) else None)
        for axis in (axes.xaxis, axes.yaxis):
            # Plain numbers: an offset or a power of ten would land on the legend above the panel.
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(ScalarFormatter(useOffset=False))
            axis.get_major_formatter().set_scientific(False)
    figure.align_ylabels()
    if title is not None:
        figure.suptitle(title, fontsize=canvas.TITLE_SIZE)
    return figure


def _training_order(match):
    is_validation, quantity = match.groups()
    return (int(quantity) if quantity.isdigit() else 0, is_validation is not None)


def _training_panel(axes, steps, series):
    layers = list(dict.fromkeys(match[2] for match, _ in series))
    handles: dict[str, Line2D] = {}
    has_validation = False
    for match, values in series:
        is_validation, quantity = match.groups()
        several = quantity.isdigit()
        position = layers.index(quantity) if several else int(is_validation is not None)
        finite = np.isfinite(values)
        # A lone point has no line to be seen by.
        marker = "o" if is_validation or finite.sum() == 1 else None
        (line,) = axes.plot(
            steps[finite],
            values[finite],
            "--" if several and is_validation else "-",
            color=canvas.COLOURS[position % len(canvas.COLOURS)],
            marker=marker,
            markersize=3,
            linewidth=1.2,
            label=match[0],
        )
        name = "validation" if is_validation else "training"
        handles.setdefault(f"layer {quantity}" if several else name, line)
        has_validation |= is_validation is not None
    if layers[0].isdigit() and has_validation:
        handles["validation"] = Line2D([], [], color="0.4", ls="--", marker="o", ms=3, lw=1.2)
    if has_validation or len(handles) > 1 or layers[0].isdigit():
        axes.legend(
            handles.values(),
            handles.keys(),
            loc="lower left",
            bbox_to_anchor=(0, 1),
            borderaxespad=0.2,
            ncols=3,
            fontsize=7,
            frameon=False,
            columnspacing=1.2,
            handlelength=1.6,
        )
    _zoom_past_start(axes, steps, [values for _, values in series])


def _zoom_past_start(axes, steps, columns):
    late = steps >= steps.min() + 0.1 * np.ptp(steps)
    everything = np.concatenate([values[np.isfinite(values)] for values in columns])
    settled = np.concatenate([values[late & np.isfinite(values)] for values in columns])
    if not settled.size or np.ptp(everything) <= 5 * np.ptp(settled) or not np.ptp(settled):
        return
    pad = 0.05 * np.ptp(settled)
    axes.set_ylim(settled.min() - pad, settled.max() + pad)
    falls = everything.max() > settled.max()
    axes.text(
        0.98,
        0.96 if falls else 0.04,
        "start off scale",
        transform=axes.transAxes,
        ha="right",
        va="top" if falls else "bottom",
        fontsize=canvas.CAPTION_SIZE,
        color="0.35",
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
    )
