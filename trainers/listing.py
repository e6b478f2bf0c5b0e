"""The datasets, described for a terminal."""

from seatbelt_tf import datasets

_FOLDER = (
    "folder:PATH\n"
    "  images     PNG, JPEG or WebP of any size, cut to the central square and reduced to "
    "--image_size;\n             grey when all are, otherwise RGB\n"
    "  labels     class subfolders, if there are any\n"
    "  splits     80 % train, 10 % validation, 10 % test of every class, by the images' SHA-256\n"
    "  licence    the images' own"
)


def describe(data_dir):
    """A paragraph a dataset: shape, splits, labels, source, licence, and how to get it.

    Args:
        data_dir: TFDS data directory, or None for TFDS's own.

    Returns:
        The text, without TensorFlow or an image being read.
    """
    return "\n\n".join([*(_paragraph(name, data_dir) for name in datasets.names()), _FOLDER])


def _paragraph(name, data_dir):
    info = datasets.info(name, data_dir)
    try:
        datasets.check(name, data_dir)
        is_ready = True
    except ValueError:
        is_ready = False
    kind, shape = "images", "×".join(map(str, info.shape))
    if len(info.shape) == 1:
        kind, shape = "points", f"{shape} coordinates"
    splits = ", ".join(f"{split} {size:,}" for split, size in info.splits.items())
    lines = {
        kind: f"{shape}; {splits}",
        "labels": _labels(info),
        "source": info.source,
        "licence": info.licence,
        "get it": "is here" if is_ready and info.fingerprint else info.how_to_get,
    }
    return "\n".join([name, *(f"  {title:<10} {text}" for title, text in lines.items())])


def _labels(info):
    if info.factors is not None:
        return ", ".join(f"{name} ({count})" for name, count in info.factors.items())
    shown = ", ".join(info.labels[:4])
    return f"{shown}, …: {len(info.labels)} in all" if len(info.labels) > 4 else shown
