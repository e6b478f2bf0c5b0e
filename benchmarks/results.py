"""What benchmarks leave."""

import pathlib

from seatbelt_tf import runs


def write(path, figures, table):
    """Writes figures in JSON and, beside them, a table in Markdown."""
    runs.write_json(path, figures)
    runs.write_text(pathlib.Path(path).with_suffix(".md"), table)
