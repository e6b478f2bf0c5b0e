"""The command line that benchmarks share."""

import argparse


def parser(name, description):
    """The parser of `python -m benchmarks.NAME`, described by its docstring's first line."""
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description.split("\n")[0],
        allow_abbrev=False,
    )


def positive(text):
    """An argument's type: a positive integer."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, received {text}")
    return value
