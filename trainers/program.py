"""What the programs share: help, flags, one-line errors with an exit status, a quiet TensorFlow."""

import contextlib
import errno
import os
import pathlib
import re
import select
import shlex
import signal
import sys
import textwrap

from absl import flags

from trainers import interruption, terminal

FLAGS = flags.FLAGS
# As a shell has it of a program that SIGPIPE ended.
NO_READER = 128 + signal.SIGPIPE
SOME_FAILED, BAD_INPUT, FIRED, NOT_FINITE, CANNOT_WRITE, WORKER_LOST, NO_MEMORY = range(1, 8)
STATUSES = {
    0: "done",
    SOME_FAILED: "some models failed",
    BAD_INPUT: "bad input",
    FIRED: "a diagnostic fired, with --strict",
    NOT_FINITE: "numbers not finite",
    CANNOT_WRITE: "a file cannot be written (disk full) or read",
    WORKER_LOST: "another worker was lost",
    NO_MEMORY: "not enough memory",
    **{interruption.status(number): name for number, name in interruption.NAMES.items()},
    NO_READER: "nobody reads the output, as after | head",
}
_OF_ALL = (
    *(0, BAD_INPUT, CANNOT_WRITE, NO_MEMORY, NO_READER),
    *map(interruption.status, interruption.NAMES),
)


class StopError(Exception):
    """Ends the program with one line on standard error.

    Args:
        message: the line.
        status: exit status of the program.
    """

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


def start(main, description, statuses=()):
    """Parses the command line and runs a program.

    Everything that can go wrong ends in one line on standard error and an exit status: 2 for bad
    flags and ValueErrors from the package, 5 for files that cannot be written or read, 7 where
    memory does not suffice, 130 and 143 after Ctrl-C and SIGTERM, and what a `StopError` says.
    When nobody reads the output any more, it ends without a line and with 141.

    Args:
        main: function without arguments.
        description: shown above the flags by --help.
        statuses: those of `STATUSES` that this program may end with besides those of all.
    """
    with written_out():
        _run(main, description, statuses)


@contextlib.contextmanager
def written_out():
    """All that the block prints is written at its end, or the program ends as `start` says."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        unread = is_unread(error)
        # Python writes what is left once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not unread:
            fail(told(sys.argv[:1]), error, CANNOT_WRITE)
        sys.exit(NO_READER)


def _run(main, description, statuses):
    program = told(sys.argv[:1])
    if any(argument in ("--help", "-h", "-help") for argument in sys.argv[1:]):
        print(description.strip().replace("PROGRAM", program))
        print("\nExit status:")
        for status in sorted({*_OF_ALL, *statuses}):
            print(f"  {status:3}  {STATUSES[status]}")
        print(f"\nFlags:\n{_flag_help()}")
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
        if is_unread(error):
            raise
        fail(program, error, CANNOT_WRITE)
    except flags.IllegalFlagValueError as error:
        text = re.sub("invalid literal .*?:", "expected a whole number, received", str(error))
        fail(program, re.sub("could not convert .*?:", "expected a number, received", text))
    except (flags.Error, ValueError) as error:
        fail(program, error)
    except Exception as error:
        if full_disk(error):
            fail(program, full_disk(error), CANNOT_WRITE)
        if not is_out_of_memory(error):
            raise
        fail(program, f"not enough memory: {str(error)[:200]}", NO_MEMORY)


def is_unread(error):
    """Whether an error is that nobody reads standard output: not another pipe's."""
    if not isinstance(error, BrokenPipeError):
        return False
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def is_out_of_memory(error):
    """Whether Python or TensorFlow, which may not be loaded, asked for memory that is not there."""
    is_tensorflows = type(error).__name__ == "ResourceExhaustedError" and not full_disk(error)
    return isinstance(error, MemoryError) or is_tensorflows


def full_disk(error):
    """Which file TensorFlow could not write to a full disk and why, one line; else None.

    Its error is of the class of memory that ends: "{{node …}} path; No space left on device" and
    lines of what follows from it.
    """
    line = str(error).split("\n")[0].split("}} ")[-1]
    reasons = map(os.strerror, (errno.ENOSPC, errno.EDQUOT))
    return line if any(reason in line for reason in reasons) else None


def told(command):
    """`sys.argv` of a program of ours as its user may type it, wherever it is installed."""
    program, *arguments = map(str, command)
    path = pathlib.Path(program)
    return shlex.join(["python", "-m", f"{path.parent.name}.{path.stem}", *arguments])


def import_tensorflow(deterministic=False, exact=False):
    """Imports TensorFlow without the lines that its C++ part prints while it loads and later.

    SEATBELT_VERBOSE=1, or TF_CPP_MIN_LOG_LEVEL at 0 or 1, shows them. TensorFlow uses oneDNN on
    all processors then, not on those with AVX-512 VNNI or newer alone: half the time on others
    (results/onednn.md). TF_ENABLE_ONEDNN_OPTS=0 stays what it is.

    Args:
        deterministic: whether operations must give the same bits every time (op determinism).
        exact: whether products of float32 are float32's also on GPUs, which otherwise round them
            to TensorFloat-32: what is attacked, measured and proven is the model in float32.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _quiet():
        import tensorflow as tf

        if deterministic:
            tf.config.experimental.enable_op_determinism()
        if exact:
            tf.config.experimental.enable_tensor_float_32_execution(False)
        tf.config.list_physical_devices()


def has_bfloat16():
    """`half_precision.has_bfloat16`, without TensorFlow's own line where there are no kernels."""
    import tensorflow as tf

    from seatbelt_tf import half_precision

    if half_precision.has_bfloat16():
        return True
    with _quiet():
        # The first operation tells of it, no other does.
        one = tf.ones([1, 1], tf.bfloat16)
        tf.matmul(one, one)
    return False


def _quiet():
    return contextlib.nullcontext() if _is_verbose() else _standard_error_hidden()


def _is_verbose():
    level = os.environ.get("TF_CPP_MIN_LOG_LEVEL")
    return os.environ.get("SEATBELT_VERBOSE") == "1" or level in ("0", "1")


@contextlib.contextmanager
def _standard_error_hidden():
    """Turns the file descriptor away, since C++ knows nothing of `sys.stderr`."""
    # Also for processes that this one starts; errors are still shown.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def interrupted(number):
    """The `StopError` of a program that keeps what is finished and was stopped by a signal."""
    return StopError(
        f"stopped by {interruption.NAMES[number]}; started again with the same options it goes on",
        interruption.status(number),
    )


def fail(program, error, status=BAD_INPUT):
    """Ends the program with one line on standard error and an exit status."""
    message = " ".join(str(error).split())
    terminal.end_line()
    print(f"{program}: {message}", file=sys.stderr)
    sys.exit(status)


def _flag_help():
    lines = []
    for flag in FLAGS.get_key_flags_for_module(sys.argv[0]):
        name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
        default = "" if flag.default is None else f" (default: {flag.default_as_str})"
        text = textwrap.fill(f"{flag.help}{default}", 94, break_on_hyphens=False)
        lines.append(f"  {name}\n{textwrap.indent(text, ' ' * 6)}")
    return "\n".join(lines)
