"""Works cells off on a Ray cluster whose nodes share the store's folder.

Ray places the tasks and repeats those whose process or node has died; a cell is idempotent, so
what a lost task had finished is found again and a training goes on from its last checkpoint.
"""

import importlib.util
import os
import pathlib
import socket

from seatbelt_tf import checks
from trainers import interruption, program
from trainers.studies import cells

# Enough for a task to meet several dying nodes, and an end for one that kills its nodes.
RETRIES = 10
_CONNECT_SECONDS = 5.0
_POLL_SECONDS = 1.0


def check(address):
    """Raises ValueError unless Ray is installed and something listens at the address.

    Args:
        address: "host:port" of a cluster's head, or "auto" for the one that this machine is in.
    """
    if importlib.util.find_spec("ray") is None:
        raise checks.invalid(
            "executor", "local, or Ray to be installed: pip install -e '.[ray]'", "'ray'"
        )
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def work_off(store, wanted, address, cpus, gpus, report):
    """Makes cells as Ray tasks.

    Args:
        store: the store's directory, the same folder on all nodes.
        wanted: list of `cells.Cell`.
        address: see `check`.
        cpus: processor cores that a cell takes.
        gpus: accelerators that a cell takes, possibly a fraction.
        report: called with a cell when it is done.

    Raises:
        ValueError: there is no cluster at the address.
        program.StopError: interrupted, or cells failed; its message says where to look.
    """
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, error) from error
    interruption.take_signals()
    # One task a process: TensorFlow does not give its memory back.
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, max_calls=1)(_make)
    place = str(pathlib.Path(store).resolve())
    try:
        with interruption.deferred(lambda: None) as pending:
            failed, running = [], {task.remote(place, cell, cpus): cell for cell in wanted}
            while running:
                finished, _ = ray.wait(list(running), timeout=_POLL_SECONDS)
                if pending.signal is not None:
                    raise program.interrupted(pending.signal)
                for reference in finished:
                    cell = running.pop(reference)
                    reason = _failure(reference)
                    if reason is None:
                        report(cell)
                    else:
                        failed.append(f"{cell.model.key} ({reason})")
    finally:
        # Ends what is still running: tasks live as long as the process that wants them.
        ray.shutdown()
    # While the last cell was reported nobody looked.
    if pending.signal is not None:
        raise program.interrupted(pending.signal)
    cells.check_none_failed(store, failed)


def _failure(reference):
    """Why a task failed, in a line; None if it did not."""
    import ray

    try:
        ray.get(reference)
    except ray.exceptions.RayError as error:
        return str(error).strip().splitlines()[-1]
    return None


def _make(store, cell, cpus):
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, int(cpus))))
    cells.make(store, cell)


def _no_cluster(address, error):
    return checks.invalid(
        "ray_address", "a Ray cluster (ray start --head)", f"{address!r} ({error})"
    )
