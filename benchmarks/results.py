"""What benchmarks leave."""

import os
import pathlib

from seatbelt_tf import runs
from trainers import machine, provenance


def described(arguments):
    """What figures begin with: the command's arguments, the machine, versions.

    Args:
        arguments: what `command_line.parser` parsed.
    """
    return {
        "arguments": vars(arguments),
        "machine": f"{os.cpu_count()} cores",
        "processor": machine.describe(xla=False)["processor"],
        **provenance.describe(),
    }


def tell(arguments, figures, table):
    """Prints a table and, with --json, writes it beside the figures that it was made of.

    Args:
        arguments: what `command_line.parser` parsed.
        figures: JSON-compatible dict.
        table: figures in Markdown, made of them.
    """
    text = table(figures)
    print(text)
    if arguments.json:
        write(arguments.json, figures, text)


def write(path, figures, table):
    """Writes figures in JSON and, beside them, a table in Markdown."""
    runs.write_json(path, figures)
    runs.write_text(pathlib.Path(path).with_suffix(".md"), table)
