"""What the programs share: flags, one-line errors with exit status 2, the progress line."""

import os
import pathlib
import sys
import time

from absl import flags

from trainers import interruption

FLAGS = flags.FLAGS
NOT_FINITE, CANNOT_WRITE, WORKER_LOST = 4, 5, 6


class StopError(Exception):
    """Ends the program with one line on standard error.

    Args:
        message: the line.
        status: exit status of the program.
    """

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


def start(main, description):
    """Parses the command line and runs a program.

    Everything that can go wrong ends in one line on standard error and an exit status: 2 for bad
    flags and ValueErrors from the package, 5 for files that cannot be written, 130 and 143 after
    Ctrl-C and SIGTERM, and what a `StopError` says.

    Args:
        main: function without arguments.
        description: shown above the flags by --help.
    """
    program = f"python -m {pathlib.Path(sys.argv[0]).parent.name}.{pathlib.Path(sys.argv[0]).stem}"
    if any(argument in ("--help", "-h", "-help") for argument in sys.argv[1:]):
        print(description.strip().replace("PROGRAM", program) + "\n\nFlags:")
        print(_flag_help())
        return
    interruption.watch()
    try:
        rest = FLAGS(sys.argv)[1:]
        if rest:
            raise ValueError(f"Unexpected argument {rest[0]!r}. Every option starts with --")
        main()
    except StopError as stop:
        fail(program, stop, stop.status)
    except OSError as error:
        fail(program, error, CANNOT_WRITE)
    except (flags.Error, ValueError) as error:
        fail(program, error)


def import_tensorflow(deterministic=False):
    """Imports TensorFlow without the lines that its C++ part prints while it loads.

    Args:
        deterministic: whether operations must give the same bits every time (op determinism).
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow as tf

        if deterministic:
            tf.config.experimental.enable_op_determinism()
        tf.config.list_physical_devices()
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def interrupted(number):
    """The `StopError` of a program that keeps what is finished and was stopped by a signal."""
    return StopError(
        f"stopped by {interruption.NAMES[number]}; started again with the same options it goes on",
        interruption.status(number),
    )


def fail(program, error, status=2):
    """Ends the program with one line on standard error and an exit status."""
    message = " ".join(str(error).split())
    print(f"{program}: {message}", file=sys.stderr)
    sys.exit(status)


def _flag_help():
    lines = []
    for flag in FLAGS.get_key_flags_for_module(sys.argv[0]):
        name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
        default = "" if flag.default is None else f" (default: {flag.default_as_str})"
        lines.append(f"  {name}\n      {flag.help}{default}")
    return "\n".join(lines)


class Progress:
    """A progress display: one line rewritten on a terminal, plain lines otherwise.

    Args:
        total: number of steps in all.
        done: how many are done at the start.
        unit: what is counted per second, "images" say.
    """

    def __init__(self, total, done, unit):
        self._total, self._done, self._unit = total, done, unit
        self._is_terminal = sys.stdout.isatty()
        self._start = self._mark = time.monotonic()
        self._first = self._marked = done

    def update(self, step, items_per_step, message):
        """Shows the state after `step` steps; returns items a second since the last update."""
        now = time.monotonic()
        rate = (step - self._marked) * items_per_step / max(now - self._mark, 1e-9)
        left = (self._total - step) * (now - self._start) / max(step - self._first, 1)
        self._mark, self._marked = now, step
        line = (
            f"step {step:,}/{self._total:,}  {rate:,.0f} {self._unit}/s  "
            f"{int(left) // 60}:{int(left) % 60:02d} left  {message}"
        )
        if self._is_terminal:
            print(f"\r\x1b[K{line}", end="\n" if step >= self._total else "", flush=True)
        else:
            print(line, flush=True)
        return rate

    def say(self, message):
        """Prints a line of its own."""
        print(f"\r\x1b[K{message}" if self._is_terminal else message, flush=True)
