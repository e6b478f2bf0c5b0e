"""SIGTERM and Ctrl-C: what is being done is finished where that matters, and the program ends.

A thread of its own watches for them: Python would run a handler in the main thread, which may be
inside TensorFlow for minutes.
"""

import contextlib
import os
import signal
import socket
import threading

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
_STOPPED = (
    b"stopped at once; finished files are whole: the same command goes on from what is stored "
    b"(trainers.train with --resume; prepare and export begin anew)\n"
)


class Pending:
    """An interruption that waits for its program to come to a good place.

    Attributes:
        signal: its number, or None as long as there was none.
    """

    def __init__(self, notify):
        self.signal = None
        self._notify = notify

    def arrive(self, number):
        """Remembers the signal and tells the program."""
        self.signal = number
        self._notify()


_pending = None


def status(number):
    """The exit status after a signal: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + number


def watch():
    """From now on a signal ends the process at once, unless it is `deferred`."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    take_signals()
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    # A copy: standard error is turned away while TensorFlow loads.
    arguments = (reader, writer, os.dup(2))
    threading.Thread(target=_follow, args=arguments, daemon=True).start()


def take_signals():
    """Puts our handlers in place, for `watch` or where somebody has put others."""
    for number in NAMES:
        # A handler of Python's own is what makes C write to the descriptor.
        signal.signal(number, lambda *_: None)


@contextlib.contextmanager
def deferred(notify):
    """While the block runs a first signal only calls `notify`; a second one ends the process.

    Args:
        notify: called in another thread.

    Yields:
        `Pending`.
    """
    global _pending
    _pending = Pending(notify)
    try:
        yield _pending
    finally:
        _pending = None


def _follow(reader, _writer, stderr):
    while True:
        for number in reader.recv(1):
            if number not in NAMES:
                continue
            pending = _pending
            if pending is not None and pending.signal is None:
                pending.arrive(number)
            else:
                os.write(stderr, _STOPPED)
                # Every file is written aside and renamed: there is nothing to clean up.
                os._exit(status(number))
