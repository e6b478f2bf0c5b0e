"""What all figures share: size of text, colours, the empty figure, and writing it."""

import os
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seatbelt_tf import checks, runs

DPI = 150
TITLE_SIZE, LABEL_SIZE, CAPTION_SIZE = 9, 8, 6.5
# Okabe and Ito's colour-blind-safe palette without its yellow, which a white page swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINE_STYLES = ("-", "--", ":", "-.")


def save(figure: Figure, path: str | os.PathLike) -> Path:
    """Writes a figure as PNG, whole or not at all, and the same bytes for the same data.

    A reader never sees half a file, and a failure leaves an earlier one as it was (see
    `runs.replacing`).

    Args:
      figure: a `Figure`.
      path: where to; ends in ".png"; its folder is made if need be.

    Returns:
      `path` as a `pathlib.Path`.

    Raises:
      ValueError: if `path` does not end in ".png".
      OSError: if the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".png":
        raise checks.invalid("path", 'a name ending in ".png"', str(path))
    # Matplotlib would write its own version, which differs between machines.
    metadata = {"Software": "seatbelt_tf"}
    with runs.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=figure.dpi, metadata=metadata)
    return path


def style(axes, ylabel, xlabel):
    """Labels, grid and spines as all figures have them; None for no label."""
    axes.set_ylabel(ylabel, fontsize=LABEL_SIZE)
    if xlabel is not None:
        axes.set_xlabel(xlabel, fontsize=LABEL_SIZE)
    axes.tick_params(which="both", labelsize=7)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def levels(images):
    """Pixels in [-1, 1], clipped, as 8 bits: uint8 of the same shape."""
    return np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)


def colour(index):
    """The colour of the index-th thing drawn."""
    return COLOURS[index % len(COLOURS)]


def lines(axes, positions, curves):
    """Lines of different looks with markers, 95 % intervals shaded.

    Args:
      axes: where to.
      positions: (K,) numbers, ascending.
      curves: dict of label to ((K,) means, (2, K) interval ends or None).
    """
    for index, (label, (mean, interval)) in enumerate(curves.items()):
        style = LINE_STYLES[index // len(COLOURS) % len(LINE_STYLES)]
        axes.plot(positions, mean, style, color=colour(index), marker="o", ms=3, label=label)
        if interval is not None:
            axes.fill_between(positions, *interval, color=colour(index), alpha=0.2, lw=0)


def blank(size, **options):
    """An empty figure of that size in inches on an Agg canvas."""
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", **options)
    FigureCanvasAgg(figure)
    return figure
