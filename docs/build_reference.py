"""Builds the API reference from docstrings, HTML by pdoc: `python docs/build_reference.py --help`.

A warning is an error.
"""

import argparse
import os
import pathlib
import sys
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# `seatbelt_tf` brings what it exports; the rest is what docs/ sends its readers to.
MODULES = (
    "seatbelt_tf",
    "seatbelt_tf.attacks.battery",
    "seatbelt_tf.attacks.diagnostics",
    "seatbelt_tf.attacks.objectives",
    "seatbelt_tf.correlation",
    "seatbelt_tf.datasets.registry",
    "seatbelt_tf.defences.base",
    "seatbelt_tf.defences.lipschitz",
    "seatbelt_tf.defences.mcmc",
    "seatbelt_tf.defences.settings",
    "seatbelt_tf.evaluation.disentanglement",
    "seatbelt_tf.evaluation.distances",
    "seatbelt_tf.evaluation.distortion",
    "seatbelt_tf.evaluation.downstream",
    "seatbelt_tf.evaluation.intervals",
    "seatbelt_tf.evaluation.robustness",
    "seatbelt_tf.fitting",
    "seatbelt_tf.presets",
    "export.client",
)
ROOT = pathlib.Path(__file__).parents[1]


def main():
    """Writes the pages and says where the first one is."""
    parser = argparse.ArgumentParser(
        prog="python docs/build_reference.py",
        description="Builds the API reference from docstrings, HTML by pdoc.",
    )
    parser.add_argument(
        "directory",
        nargs="?",
        type=pathlib.Path,
        default=ROOT / "build" / "reference",
        help="written to (default: build/reference in this checkout)",
    )
    directory = parser.parse_args().directory
    sys.path.insert(0, str(ROOT))
    import numpy.typing

    # It would be written out, in five lines.
    numpy.typing.ArrayLike = type("ArrayLike", (), {"__module__": "numpy.typing"})
    import seatbelt_tf

    # pdoc looks for names in the module's dictionary, where lazy ones are missing.
    for name in seatbelt_tf.__all__:
        setattr(seatbelt_tf, name, getattr(seatbelt_tf, name))
    warnings.simplefilter("error")
    import pdoc

    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc(*MODULES, output_directory=directory)
    print(directory / "index.html")


if __name__ == "__main__":
    main()
