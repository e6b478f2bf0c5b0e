"""The workers that train one model together, as TF_CONFIG names them; no TensorFlow.

    TF_CONFIG='{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'

Every worker has the same list and its own index; worker 0 is the chief, who alone writes files.
"""

import contextlib
import json
import os
import selectors
import socket
import time
from typing import NamedTuple

from seatbelt_tf import checks

VARIABLE = "TF_CONFIG"
_EXPECTED = (
    '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": this one\'s}}'
)
_PROBE_SECONDS = 1.0


class Cluster(NamedTuple):
    """Who works together.

    Attributes:
        workers: tuple of "host:port".
        index: which of them this process is.
    """

    workers: tuple
    index: int

    @property
    def is_chief(self):
        """Whether this worker is the one that writes files."""
        return self.index == 0

    def name(self, index):
        """A worker as messages have it."""
        return f"worker {index} ({self.workers[index]})"

    def absent(self):
        """The indices of the other workers at whose address nobody listens."""
        return [
            index
            for index, address in enumerate(self.workers)
            if index != self.index and not _is_there(address)
        ]

    def wait(self, seconds):
        """Listens at this worker's address until all others do at theirs, then stops listening.

        TensorFlow's own server takes the address over; without this it would wait for ever.

        Args:
            seconds: how long.

        Raises:
            ValueError: this worker's port cannot be had, or a worker did not come; it is named.
        """
        deadline = time.monotonic() + seconds
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port = _split(self.workers[self.index])[1]
            try:
                listener.bind(("", port))
                listener.listen()
            except OSError as error:
                raise checks.invalid(
                    VARIABLE, f"a free port for {self.name(self.index)}", error.strerror
                ) from error
            listener.setblocking(False)
            selector = stack.enter_context(selectors.DefaultSelector())
            selector.register(listener, selectors.EVENT_READ)
            while missing := self.absent():
                if time.monotonic() > deadline:
                    raise checks.invalid(
                        VARIABLE,
                        f"{len(self.workers)} workers within {seconds:g} s",
                        f"nothing from {', '.join(map(self.name, missing))}",
                    )
                for _ in selector.select(timeout=0.2):
                    with contextlib.suppress(BlockingIOError):
                        listener.accept()[0].close()


def from_environment():
    """The `Cluster` that TF_CONFIG describes.

    Raises:
        ValueError: it is not set or describes something else.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        raise checks.invalid(VARIABLE, f"{_EXPECTED} for --strategy=multi_worker", "nothing")
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        workers, index = tuple(jobs["worker"]), task["index"]
        is_possible = set(jobs) == {"worker"} and task["type"] == "worker" and workers
        for worker in workers:
            _split(worker)
    except (ValueError, KeyError, TypeError, AttributeError):
        is_possible = False
    if not is_possible:
        raise checks.invalid(VARIABLE, _EXPECTED, text)
    if len(set(workers)) < len(workers):
        raise checks.invalid(VARIABLE, "every worker at an address of its own", text)
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(workers):
        raise checks.invalid(VARIABLE, f"a task index from 0 to {len(workers) - 1}", repr(index))
    return Cluster(workers, index)


def _split(address):
    host, port = address.rsplit(":", 1)
    if not host or not 0 < int(port) < 2**16:
        raise ValueError(address)
    return host, int(port)


def _is_there(address):
    try:
        socket.create_connection(_split(address), timeout=_PROBE_SECONDS).close()
    except OSError:
        return False
    return True
