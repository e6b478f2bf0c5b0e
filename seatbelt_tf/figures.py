"""Figures from arrays and tables: image sheets, attack panels, training and attack curves.

Nothing here knows a model. Every function takes arrays, returns a `matplotlib.figure.Figure` on an
Agg canvas and leaves pyplot's global state alone, so it runs headless and in any thread;
`save` writes the figure. Images are floating-point arrays in [-1, 1] of shape (M, H, W, C) with
C = 1 or 3; values outside that range are clipped for display only.
"""

import re
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from seatbelt_tf import runs

_DPI = 150
_TITLE_SIZE, _LABEL_SIZE, _CAPTION_SIZE = 9, 8, 6.5
# Okabe and Ito's colour-blind-safe palette without its yellow, which a white page swallows.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_LINE_STYLES = ("-", "--", ":", "-.")

_MARGIN, _GAP, _WIDE_GAP = 12, 4, 18  # device pixels
_CELL = 128  # device pixels that the longer side of a small image is enlarged to


def reconstructions(images, reconstructions, *, columns=12, title=None):
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
    images = _images("images", images)
    reconstructions = _images("reconstructions", reconstructions, images.shape)
    count = len(images)
    bands = -(-count // _positive_integer("columns", columns))
    columns = -(-count // bands)
    starts = range(0, count, columns)
    return _sheet(
        [half[i : i + columns] for i in starts for half in (images, reconstructions)],
        row_labels=["input", "reconstruction"] * len(starts),
        row_breaks=range(2, 2 * len(starts), 2),
        title=title,
    )


def image_grid(images, *, columns=8, title=None):
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
    images = _images("images", images)
    columns = _positive_integer("columns", columns)
    return _sheet([images[i : i + columns] for i in range(0, len(images), columns)], title=title)


def traversals(images, *, labels=None, values=None, title=None):
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
    images = _images("images", images, rank=5)
    units, steps = images.shape[:2]
    headers = None
    if values is not None:
        values = _vector("values", values, steps)
        headers = [f"{value:.3g}".replace("-", "−") for value in values]
    return _sheet(
        list(images),
        row_labels=_labels("labels", labels, units),
        headers=headers,
        header_title=None
        if headers is None
        else "latent value (standard deviations of its posterior means)",
        title=title,
    )


def attack_panel(
    images,
    reconstructions,
    adversarial,
    adversarial_reconstructions,
    targets,
    target_reconstructions=None,
    *,
    labels=None,
    distortion_scale=None,
    title=None,
):
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
    images = _images("images", images)
    shape = images.shape
    adversarial = _images("adversarial", adversarial, shape)
    distortions = adversarial - images
    if distortion_scale is None:
        scales = [_display_scale(np.abs(distortion).max()) for distortion in distortions]
    elif np.isfinite(distortion_scale) and distortion_scale > 0:
        scales = [distortion_scale] * len(images)
    else:
        raise _invalid("distortion_scale", "a positive, finite number", distortion_scale)
    attacked = _images("adversarial_reconstructions", adversarial_reconstructions, shape)
    columns = {
        "input": images,
        "input's\nreconstruction": _images("reconstructions", reconstructions, shape),
        "adversarial\ninput": adversarial,
        "adversarial\nreconstruction": attacked,
        "distortion": distortions * np.reshape(scales, (-1, 1, 1, 1)),
        "target": _images("targets", targets, shape),
    }
    if target_reconstructions is not None:
        reconstructed = _images("target_reconstructions", target_reconstructions, shape)
        columns["target's\nreconstruction"] = reconstructed
    norms = np.sqrt(np.sum(np.square(distortions), axis=(1, 2, 3)))
    return _sheet(
        list(zip(*columns.values(), strict=True)),
        row_labels=_labels("labels", labels, len(images)),
        headers=list(columns),
        column_breaks=(2, 4, 5),
        captions={
            (row, 4): f"×{scale:g}, ‖d‖₂ = {norm:.3g}"
            for row, (scale, norm) in enumerate(zip(scales, norms, strict=True))
        },
        title=title,
    )


def training_curves(table, *, title=None):
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
        raise _invalid("table", 'a column "step"', sorted(table))
    steps = _vector("table['step']", table["step"])
    panels = []
    for ylabel, pattern in _TRAINING_PANELS:
        matches = [re.fullmatch(f"(val_)?{pattern}", name) for name in table]
        series = []
        for match in sorted(filter(None, matches), key=_training_order):
            name = match[0]
            values = _vector(f"table[{name!r}]", table[name], len(steps), finite=False)
            if np.isfinite(values).any():
                series.append((match, values))
        if series:
            panels.append((ylabel, series))
    if not panels:
        raise _invalid("table", "a column to draw with a finite value in it", sorted(table))

    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure((3.6 * columns + 0.2, 2.6 * rows + 0.2), layout="constrained")
    for index, (ylabel, series) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        _training_panel(axes, steps, series)
        _style(axes, ylabel, "step" if index + columns >= len(panels) else None)
        for axis in (axes.xaxis, axes.yaxis):
            # Plain numbers: an offset or a power of ten would land on the legend above the panel.
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(ScalarFormatter(useOffset=False))
            axis.get_major_formatter().set_scientific(False)
    figure.align_ylabels()
    if title is not None:
        figure.suptitle(title, fontsize=_TITLE_SIZE)
    return figure


def weight_curves(weights, curves, *, ylabel="attack loss Δ (nats)", log=True, title=None):
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
    weights = _vector("weights", weights)
    if np.any(weights <= 0):
        raise _invalid("weights", "positive numbers", weights)
    figure = _figure((6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    drawn = _draw_curves(figure, axes, weights, curves)
    axes.set_xscale("log", base=2)
    if log:
        positive = drawn
        positive = positive[positive > 0]
        if not positive.size:
            raise _invalid("curves", "a positive value somewhere when log=True", curves)
        axes.set_yscale("log", nonpositive="clip")
        # Explicit, because clipped values would otherwise drag the axis down to 1e-300.
        pad = max((positive.max() / positive.min()) ** 0.05, 1.1)
        axes.set_ylim(positive.min() / pad, positive.max() * pad)
        if positive.max() < 10 * positive.min():
            axes.yaxis.set_major_formatter(ScalarFormatter())
            axes.yaxis.set_minor_formatter(ScalarFormatter())
    _style(axes, ylabel, "λ")
    if title is not None:
        axes.set_title(title, fontsize=_TITLE_SIZE, loc="left")
    return figure


def distortion_curves(norms, curves, *, title=None):
    """Draws shares of the gap closed against the distortion's relative norm.

    Args:
      norms: (K,) ‖d‖₂ / ‖x_t − x‖₂ between 0 and 1, in any order.
      curves: dict of label to (K,) mean shares, or to a tuple ((K,) means, (2, K) lower and upper
        ends of the 95 % interval).
      title: text above the figure, or None.

    Returns:
      A `Figure`.

    Raises:
      ValueError: on shapes that do not match, on values that are not finite, norms out of range,
        interval ends in the wrong order, or no curves.
    """
    norms = _vector("norms", norms)
    if np.any((norms < 0) | (norms > 1)):
        raise _invalid("norms", "numbers between 0 and 1", norms)
    figure = _figure((6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    _draw_curves(figure, axes, norms, curves)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    _style(axes, "share of the gap closed", "‖d‖₂ / ‖target − input‖₂")
    if title is not None:
        axes.set_title(title, fontsize=_TITLE_SIZE, loc="left")
    return figure


def _draw_curves(figure, axes, positions, curves):
    """Lines with a legend beside, intervals shaded: -> all numbers drawn, (n,)."""
    if not curves:
        raise _invalid("curves", "at least one curve", curves)
    order = np.argsort(positions, kind="stable")
    drawn, has_interval = [], False
    for index, (label, value) in enumerate(curves.items()):
        mean, interval = _mean_and_interval(f"curves[{label!r}]", value, len(positions))
        colour = _COLOURS[index % len(_COLOURS)]
        style = _LINE_STYLES[index // len(_COLOURS) % len(_LINE_STYLES)]
        x = positions[order]
        axes.plot(x, mean[order], style, color=colour, marker="o", ms=2.5, label=label)
        drawn.append(mean)
        if interval is not None:
            has_interval = True
            axes.fill_between(x, *interval[:, order], color=colour, alpha=0.2, lw=0)
            drawn.extend(interval)
    figure.legend(
        loc="outside right upper",
        fontsize=_LABEL_SIZE,
        frameon=False,
        title="shaded: 95 % interval" if has_interval else None,
        title_fontsize=_CAPTION_SIZE,
    )
    return np.concatenate(drawn)


def save(figure, path):
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
        raise _invalid("path", 'a name ending in ".png"', str(path))
    # Matplotlib would write its own version, which differs between machines.
    metadata = {"Software": "seatbelt_tf"}
    with runs.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=figure.dpi, metadata=metadata)
    return path


_TRAINING_PANELS = (
    ("ELBO (nats)", "(elbo)"),
    ("log p(x | z) (nats)", "(log_likelihood)"),
    ("KL by layer (nats)", r"kl_layer_(\d+)"),
    ("total correlation (nats)", "(total_correlation)"),
    ("learning rate", "(learning_rate)"),
    ("images per second", "(images_per_second)"),
)


def _training_order(match):
    is_validation, quantity = match.groups()
    return (int(quantity) if quantity.isdigit() else 0, is_validation is not None)


def _training_panel(axes, steps, series):
    layers = list(dict.fromkeys(match[2] for match, _ in series))
    handles, has_validation = {}, False
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
            color=_COLOURS[position % len(_COLOURS)],
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
        fontsize=_CAPTION_SIZE,
        color="0.35",
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
    )


def _style(axes, ylabel, xlabel):
    axes.set_ylabel(ylabel, fontsize=_LABEL_SIZE)
    if xlabel is not None:
        axes.set_xlabel(xlabel, fontsize=_LABEL_SIZE)
    axes.tick_params(which="both", labelsize=7)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _figure(size, **options):
    figure = Figure(figsize=size, dpi=_DPI, facecolor="white", **options)
    FigureCanvasAgg(figure)
    return figure


def _sheet(
    rows,
    *,
    row_labels=None,
    headers=None,
    header_title=None,
    captions=None,
    row_breaks=(),
    column_breaks=(),
    title=None,
):
    """Places images on a page with labels to the left, headers above and captions below cells.

    `captions` maps (row, column) to text; its columns stand between `column_breaks`, for width.

    One Axes fills the figure and its data coordinates are device pixels, y downwards: images sit on
    whole pixels at a whole-number enlargement, and each label gets the room it was measured to
    need.
    """
    height, width = rows[0][0].shape[:2]
    longest = max(height, width)
    zoom = max(1, _CELL // longest) if longest <= 2 * _CELL else 2 * _CELL / longest
    height, width = max(1, round(height * zoom)), max(1, round(width * zoom))
    columns = max(len(row) for row in rows)

    figure = _figure((1, 1))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()

    def write(text, size, **options):
        artist = axes.text(0, 0, text, fontsize=size, **options)
        return artist, artist.get_window_extent(figure.canvas.get_renderer())

    def write_within(texts, size, room, **options):
        """As `write` for several texts, at the one size at which the widest fits into `room`."""
        written = [write(text, size, **options) for text in texts]
        shrink = min(1.0, *(room / max(box.width, 1) for _, box in written))
        for artist, _ in written:
            artist.set_fontsize(size * shrink)
        return [artist for artist, _ in written], max(box.height for _, box in written) * shrink

    left = top = right = _MARGIN
    if title is not None:
        artist, box = write(title, _TITLE_SIZE, va="top")
        artist.set_position((left, top))
        top, right = top + box.height + _WIDE_GAP / 2, left + box.width
    if row_labels is not None:
        labels = [write(text, _LABEL_SIZE, ha="right", va="center") for text in row_labels]
        left += max(box.width for _, box in labels) + 2 * _GAP
    left = round(left)
    breaks = np.isin(np.arange(columns), column_breaks)
    xs = left + np.arange(columns) * (width + _GAP) + np.cumsum(breaks) * _WIDE_GAP
    right = max(right, xs[-1] + width)
    if header_title is not None:
        artist, box = write(header_title, _CAPTION_SIZE, va="top", color="0.35")
        artist.set_position((left, top))
        top, right = top + box.height + _GAP, max(right, left + box.width)
    if headers is not None:
        artists, tallest = write_within(headers, _LABEL_SIZE, width, ha="center", va="bottom")
        for artist, x in zip(artists, xs, strict=True):
            artist.set_position((x + width / 2, top + tallest))
        top += tallest + 2 * _GAP
    caption_height = 0
    if captions:
        options = {"ha": "center", "va": "top"}
        room = width + _WIDE_GAP
        artists, tallest = write_within(captions.values(), _CAPTION_SIZE, room, **options)
        caption_height = round(tallest + 2 * _GAP)
    pitch = height + _GAP + caption_height
    breaks = np.isin(np.arange(len(rows)), row_breaks)
    ys = round(top) + np.arange(len(rows)) * pitch + np.cumsum(breaks) * _WIDE_GAP
    if captions:
        for artist, (row, column) in zip(artists, captions, strict=True):
            artist.set_position((xs[column] + width / 2, ys[row] + height + _GAP))
    if row_labels is not None:
        for (artist, _), y in zip(labels, ys, strict=True):
            artist.set_position((left - 2 * _GAP, y + height / 2))

    page = (int(np.ceil(right)) + _MARGIN, int(ys[-1]) + height + caption_height + _MARGIN)
    # Agg rounds the size in pixels down; the excess keeps a rounding error from costing one.
    figure.set_size_inches((page[0] + 1e-3) / _DPI, (page[1] + 1e-3) / _DPI)
    axes.set(xlim=(0, page[0]), ylim=(page[1], 0))
    for y, row in zip(ys, rows, strict=True):
        for x, image in zip(xs, row, strict=False):
            # The frame shows where an image on a white ground ends.
            frame = Rectangle((x - 1, y - 1), width + 2, height + 2, facecolor="0.6", linewidth=0)
            axes.add_patch(frame)
            pixels = np.rint((np.clip(image, -1, 1) + 1) * 127.5).astype(np.uint8)
            axes.imshow(
                np.broadcast_to(pixels, (*pixels.shape[:2], 3)),
                extent=(x, x + width, y + height, y),
                aspect="auto",
                interpolation="nearest" if zoom >= 1 else "antialiased",
                zorder=2,
            )
    return figure


def _display_scale(largest):
    """The largest one-digit factor that keeps `largest` within 1; 1 for no distortion at all."""
    if largest == 0:
        return 1.0
    exponent = np.floor(-np.log10(largest))
    # The small excess keeps 1/0.25 = 4 from being floored to 3 by rounding.
    return float(np.floor(1 / largest / 10**exponent * (1 + 1e-9)) * 10**exponent)


def _mean_and_interval(name, value, count):
    has_interval = isinstance(value, tuple) and len(value) == 2 and np.ndim(value[0]) == 1
    mean = _vector(name, value[0] if has_interval else value, count)
    if not has_interval:
        return mean, None
    interval = np.asarray(value[1], dtype=np.float64)
    if interval.shape != (2, count) or not np.isfinite(interval).all():
        raise _invalid(name, f"a finite interval of shape (2, {count})", interval)
    if np.any(interval[0] > interval[1]):
        raise _invalid(name, "lower ends of the interval that are not above the upper", interval)
    return mean, interval


def _images(name, value, shape=None, *, rank=4):
    value = np.asarray(value)
    if value.dtype.kind in "iub":
        raise _invalid(name, "floating-point images in [-1, 1]", f"dtype {value.dtype}")
    axes = "(M, H, W, C)" if rank == 4 else "(units, steps, H, W, C)"
    if value.ndim != rank or value.shape[-1] not in (1, 3) or 0 in value.shape:
        raise _invalid(name, f"shape {axes}, not empty, with C = 1 or 3", f"shape {value.shape}")
    if shape is not None and value.shape != shape:
        raise _invalid(name, f"shape {shape}, that of the images", f"shape {value.shape}")
    value = value.astype(np.float64)
    if not np.isfinite(value).all():
        count = np.count_nonzero(~np.isfinite(value))
        raise _invalid(name, "finite values", f"{count} that are not")
    return value


def _vector(name, value, length=None, *, finite=True):
    value = np.asarray(value, dtype=np.float64)
    if value.ndim != 1 or not value.size or length not in (None, value.size):
        wanted = "a non-empty vector" if length is None else f"shape ({length},)"
        raise _invalid(name, wanted, f"shape {value.shape}")
    if finite and not np.isfinite(value).all():
        raise _invalid(name, "finite values", value)
    return value


def _labels(name, labels, count):
    if labels is None:
        return None
    labels = [str(label) for label in labels]
    if len(labels) != count:
        raise _invalid(name, f"{count} labels", labels)
    return labels


def _positive_integer(name, value):
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise _invalid(name, "an integer of at least 1", value)
    return int(value)


def _invalid(name, expected, received):
    return ValueError(f"Invalid value for {name}. Expected {expected}. Received: {name}={received}")
