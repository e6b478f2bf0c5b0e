"""Lists the programs: `python -m trainers`."""

import ast
import importlib.util
import pathlib
import sys

from trainers import program, terminal

PROGRAMS = (
    "trainers.train",
    "trainers.attack",
    "trainers.evaluate",
    "export.saved_model",
    "trainers.reproduce",
    "trainers.prepare",
)


def main():
    """Prints each program with the first sentence of its docstring."""
    rest = [word for word in sys.argv[1:] if word not in ("--help", "-h", "-help")]
    if rest:
        full = f"Every program is named in full, as in python -m {PROGRAMS[0]}"
        program.fail("python -m trainers", f"Unexpected argument {rest[0]!r}. {full}")
    print("The programs; each says to --help what it takes.\n")
    for name in PROGRAMS:
        # Not imported: their flags have the same names.
        source = pathlib.Path(importlib.util.find_spec(name).origin).read_text(encoding="utf-8")
        sentence = ast.get_docstring(ast.parse(source)).partition(": `")[0]
        print(f"  python -m {name:20}{sentence}")
    terminal.suggest(terminal.command(PROGRAMS[0], "--help"))


if __name__ == "__main__":
    with program.written_out():
        main()
