"""Images on a page, pixel for pixel, with labels, headers and captions."""

import numpy as np
from matplotlib.patches import Rectangle

from seatbelt_tf.figures import canvas

_MARGIN, _GAP, _WIDE_GAP = 12, 4, 18  # device pixels
_CELL = 128  # device pixels that the longer side of a small image is enlarged to


def sheet(
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

    figure = canvas.blank((1, 1))
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
        artist, box = write(title, canvas.TITLE_SIZE, va="top")
        artist.set_position((left, top))
        top, right = top + box.height + _WIDE_GAP / 2, left + box.width
    if row_labels is not None:
        labels = [write(text, canvas.LABEL_SIZE, ha="right", va="center") for text in row_labels]
        left += max(box.width for _, box in labels) + 2 * _GAP
    left = round(left)
    breaks = np.isin(np.arange(columns), column_breaks)
    xs = left + np.arange(columns) * (width + _GAP) + np.cumsum(breaks) * _WIDE_GAP
    right = max(right, xs[-1] + width)
    if header_title is not None:
        artist, box = write(header_title, canvas.CAPTION_SIZE, va="top", color="0.35")
        artist.set_position((left, top))
        top, right = top + box.height + _GAP, max(right, left + box.width)
    if headers is not None:
        artists, tallest = write_within(headers, canvas.LABEL_SIZE, width, ha="center", va="bottom")
        for artist, x in zip(artists, xs, strict=True):
            artist.set_position((x + width / 2, top + tallest))
        top += tallest + 2 * _GAP
    caption_height = 0
    if captions:
        options = {"ha": "center", "va": "top"}
        room = width + _WIDE_GAP
        artists, tallest = write_within(captions.values(), canvas.CAPTION_SIZE, room, **options)
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
    figure.set_size_inches((page[0] + 1e-3) / canvas.DPI, (page[1] + 1e-3) / canvas.DPI)
    axes.set(xlim=(0, page[0]), ylim=(page[1], 0))
    for y, row in zip(ys, rows, strict=True):
        for x, image in zip(xs, row, strict=False):
            _draw(axes, image, x, y, width, height)
    return figure


def _draw(axes, image, x, y, width, height):
    """An image of that size in device pixels, its upper left corner at (x, y)."""
    # The frame shows where an image on a white ground ends.
    frame = Rectangle((x - 1, y - 1), width + 2, height + 2, facecolor="0.6", linewidth=0)
    axes.add_patch(frame)
    axes.imshow(
        np.broadcast_to(canvas.levels(image), (*image.shape[:2], 3)),
        extent=(x, x + width, y + height, y),
        aspect="auto",
        interpolation="nearest" if height * width >= image[..., 0].size else "antialiased",
        zorder=2,
    )
