"""Flags that several programs have: one name, one meaning, and one place that says so."""

import difflib
import os
import pathlib

from absl import flags

from seatbelt_tf import checks, runs

FLAGS = flags.FLAGS
# They are the calling program's own, for --help.
flags.disclaim_key_flags()
RUNS = pathlib.Path("runs")


def define_run():
    """Defines --run, in the program that calls this."""
    define_directory(
        "run", "Run directory of a trained model, or its name in runs/, or how that begins."
    )


def define_seed():
    """Defines --seed, in the program that calls this."""
    flags.DEFINE_integer("seed", 0, "Of everything that is random.")


def define_data_dir(default="as TFDS has it"):
    """Defines --data_dir, in the program that calls this.

    Args:
        default: what is taken without it, in words.
    """
    define_directory("data_dir", f"TFDS data directory. Default: {default}.")


def define_directory(name, text, default=None):
    """Defines a directory, in which ~ is the home directory, in the program that calls this."""
    flags.DEFINE(_Directory(), name, default, text, serializer=flags.ArgumentSerializer())


class _Directory(flags.ArgumentParser):
    """No shell replaces a ~ that follows a =."""

    def parse(self, argument):
        return os.path.expanduser(argument)


def data_dir_again():
    """--data_dir as it was given, for the next command: list of a flag, or of nothing."""
    return [f"--data_dir={FLAGS.data_dir}"] if FLAGS["data_dir"].present else []


def find_run(name, completed=True):
    """The `runs.Run` that --run names: a directory as given, or below runs/.

    A name may be cut off where only one run's begins so; which one is printed. It is no beginning
    where both end in numbers: beta1 is not completed to beta10.

    Args:
        name: the flag's value.
        completed: whether the beginning of a name is enough.

    Raises:
        ValueError: it is empty or fits no run, or several; the message has those, the nearest
            name, or all.
    """
    expected = "a directory made by trainers.train or its name in runs/, --run=NAME"
    given = pathlib.Path(name or "")
    places = (given, RUNS / given) if name else ()
    # A directory of images may have the run's name.
    # `pathlib` raises where there is no permission to look, or a name is too long.
    for path in sorted(places, key=lambda path: not os.path.exists(path / "config.json")):
        if os.path.isdir(path):
            return runs.Run(path)
    # Both places of an absolute path are the same.
    known = [
        file.parent
        for directory in dict.fromkeys(place.parent for place in places)
        if os.path.isdir(directory)
        for file in sorted(directory.glob("*/config.json"))
    ]
    begun = [path for path in known if _is_begun(path.name, given.name)] if completed else []
    if len(begun) == 1:
        print(f"--run={name}: {begun[0]}")
        return runs.Run(begun[0])
    near = difflib.get_close_matches(given.name, [path.name for path in known], n=1)
    there = ", ".join(str(file.parent) for file in sorted(RUNS.glob("*/config.json"))) or "none yet"
    if begun:
        hint = f"so begin: {', '.join(map(str, begun))}"
    elif near:
        nearest = next(str(path) for path in reversed(known) if path.name == near[0])
        hint = f"did you mean {nearest!r}?"
    else:
        hint = f"{'no config.json; ' if name else ''}there are: {there}"
    raise checks.invalid("run", f"{expected} ({hint})", repr(name))


def _is_begun(name, beginning):
    rest = name.removeprefix(beginning)
    return rest != name and not (beginning[-1:].isdigit() and rest[:1].isdigit())
