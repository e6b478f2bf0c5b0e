"""The command line that benchmarks share."""

import argparse
import re


class _Help(argparse.RawDescriptionHelpFormatter):
    """Says the default of every option that has one."""

    def __init__(self, prog):
        super().__init__(prog, width=100)

    def _get_help_string(self, action):
        if action.required:
            return f"{action.help} (required)"
        if action.default in (None, False, argparse.SUPPRESS):
            return action.help
        values = action.default if isinstance(action.default, list | tuple) else [action.default]
        return f"{action.help} (default: {' '.join(map(str, values))})".replace("%", "%%")


def parser(name, text):
    """The parser of `python -m benchmarks.NAME`.

    Args:
        name: the program's.
        text: its docstring: the first line describes it, the indented commands are its examples.
    """
    examples = re.findall(r"^    (python .*)$", text, re.MULTILINE)
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=text.split("\n")[0],
        epilog="\n  ".join(["examples:", *examples]),
        formatter_class=_Help,
        allow_abbrev=False,
    )


def positive(text):
    """An argument's type: a positive integer."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, received {text}")
    return value
