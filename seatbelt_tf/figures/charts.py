"""Charts of studies: lines, heat maps, densities, points and intervals from arrays."""

import numpy as np
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from seatbelt_tf import checks
from seatbelt_tf.figures import canvas

_MARKERS = "os^Dv"


def panels(charts, *, columns=2, title=None, size=(5.4, 3.6)):
    """Several charts in one figure.

    Args:
      charts: dict of title to function of a matplotlib Axes, such as those made below.
      columns: charts in a row.
      title: text above the figure, or None.
      size: width and height of a chart, in inches.

    Returns:
      A `Figure`.

    Raises:
      ValueError: there are no charts.
    """
    if not charts:
        raise checks.invalid("charts", "at least one chart", charts)
    columns = min(columns, len(charts))
    rows = -(-len(charts) // columns)
    width, height = size
    figure = canvas.blank((width * columns, height * rows), layout="constrained")
    for index, (name, draw) in enumerate(charts.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        draw(axes)
        axes.set_title(name, fontsize=canvas.TITLE_SIZE, loc="left")
    if title is not None:
        figure.suptitle(title, fontsize=canvas.TITLE_SIZE)
    return figure


def lines(positions, curves, *, xlabel, ylabel, log=False):
    """Quantities against positions, with 95 % intervals where given.

    Args:
      positions: (K,) numbers.
      curves: dict of label to (K,) means or ((K,) means, (2, K) interval ends); NaN is left out.
      xlabel: what the positions are.
      ylabel: what the quantity is, with its unit.
      log: whether the quantity's axis is logarithmic.

    Returns:
      Function of an Axes.
    """
    positions = np.asarray(positions, np.float64)
    pairs = {k: v if isinstance(v, tuple) else (v, None) for k, v in curves.items()}

    def draw(axes):
        canvas.lines(axes, positions, pairs)
        if log:
            axes.set_yscale("log", nonpositive="clip")
        canvas.style(axes, ylabel, xlabel)
        axes.legend(fontsize=canvas.LABEL_SIZE, framealpha=0.7, edgecolor="none")

    return draw


def heat_map(values, *, rows, columns, ylabel, xlabel, template="{:,.0f}"):
    """Numbers of a table in colours, each written in its cell.

    Args:
      values: (R, C); NaN cells stay empty.
      rows: (R,) labels, drawn from the bottom up as in the paper's figure D.9.
      columns: (C,) labels.
      ylabel: what the rows are.
      xlabel: what the columns are.
      template: of the numbers.

    Returns:
      Function of an Axes.
    """
    values = np.asarray(values, np.float64)

    def draw(axes):
        image = axes.imshow(values, origin="lower", cmap="viridis", aspect="auto")
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xticks(range(len(columns)), columns)
        middle = np.nanmean(image.get_clim())
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                axes.text(
                    column,
                    row,
                    template.format(value),
                    ha="center",
                    va="center",
                    fontsize=canvas.LABEL_SIZE,
                    color="black" if value > middle else "white",
                )
        axes.set(xlabel=xlabel, ylabel=ylabel)

    return draw


def densities(samples, *, xlabel, bins=40):
    """Histograms, as densities, of several samples on common bins.

    Args:
      samples: dict of label to (n,) numbers.
      xlabel: what they are, with their unit.
      bins: number of bins.

    Returns:
      Function of an Axes.
    """
    edges = np.histogram_bin_edges(np.concatenate(list(samples.values())), bins)

    def draw(axes):
        for index, (label, values) in enumerate(samples.items()):
            axes.hist(
                values,
                edges,
                density=True,
                histtype="stepfilled",
                alpha=0.25,
                color=canvas.colour(index),
            )
            axes.hist(
                values,
                edges,
                density=True,
                histtype="step",
                color=canvas.colour(index),
                label=label,
            )
        canvas.style(axes, "density", xlabel)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.legend(fontsize=canvas.LABEL_SIZE, frameon=False)

    return draw


def points(groups, *, xlabel, ylabel, log=False, line=None):
    """Points of several groups.

    Args:
      groups: dict of label to ((n,) positions, (n,) values).
      xlabel: what the positions are.
      ylabel: what the values are, with their unit.
      log: whether the values' axis is logarithmic.
      line: (position, value)s to ring and join by a line, or None.

    Returns:
      Function of an Axes.
    """
    is_crowded = len(groups) > len(canvas.COLOURS)

    def draw(axes):
        if line is not None:
            # Rings, for a line of one point would not be seen.
            ring = {"marker": "o", "ms": 13, "mfc": "none"}
            axes.plot(*zip(*line, strict=True), color="0.7", lw=1.5, zorder=0, **ring)
        for index, (label, (x, y)) in enumerate(groups.items()):
            marker = _MARKERS[index // len(canvas.COLOURS) % len(_MARKERS)]
            axes.plot(x, y, marker, ms=5, color=canvas.colour(index), label=label)
        if log:
            axes.set_yscale("log")
        canvas.style(axes, ylabel, xlabel)
        place = {"loc": "upper left", "bbox_to_anchor": (1.02, 1.0)} if is_crowded else {}
        axes.legend(fontsize=canvas.LABEL_SIZE, frameon=False, **place)

    return draw


def intervals(rows, *, xlabel):
    """A dot with its interval a row, and single results as small marks.

    Args:
      rows: dict of label to (mean, lower, upper, (n,) single results).
      xlabel: what the numbers are, with their unit.

    Returns:
      Function of an Axes.
    """

    def draw(axes):
        for index, (mean, lower, upper, single) in enumerate(rows.values()):
            colour = canvas.colour(index)
            axes.plot([lower, upper], [index, index], color=colour, lw=2)
            axes.plot(mean, index, "o", color=colour, ms=7)
            axes.plot(single, np.full(len(single), index - 0.22), "|", color=colour, ms=7)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.5, -0.6)
        axes.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
        canvas.style(axes, None, xlabel)

    return draw


def clouds(groups):
    """Three-dimensional points seen along the second axis, coloured by a number each.

    All groups have the same axes.

    Args:
      groups: dict of title to ((n, 2 or 3) points, (n,) colours).

    Returns:
      Dict of title to function of an Axes, for `panels`.
    """
    seen = {title: points[:, [0, -1]] for title, (points, _) in groups.items()}
    everything = np.concatenate(list(seen.values()))
    lower, upper = np.min(everything, axis=0), np.max(everything, axis=0)
    margin = 0.03 * np.max(upper - lower)

    def cloud(points, colours):
        def draw(axes):
            axes.scatter(*points.T, s=3, c=colours, cmap="Spectral", lw=0)
            axes.set_aspect("equal", adjustable="box")
            axes.set_xlim(lower[0] - margin, upper[0] + margin)
            axes.set_ylim(lower[1] - margin, upper[1] + margin)
            axes.tick_params(labelsize=canvas.LABEL_SIZE)

        return draw

    return {title: cloud(seen[title], colours) for title, (_, colours) in groups.items()}
