"""Works cells off, several at once, each in a process of its own that gives its memory back."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import traceback

from trainers import interruption, program
from trainers.studies import cells


def work_off(store, wanted, workers, report):
    """Makes cells.

    A first SIGTERM or Ctrl-C ends the children; all that is finished is stored, trainings go on
    from their last checkpoint when the study is started again. A cell that fails stops no other.

    Args:
        store: the store's directory.
        wanted: list of `cells.Cell`.
        workers: how many processes.
        report: called with a cell when it is done.

    Raises:
        program.StopError: interrupted, or cells failed; its message says where to look.
    """
    failed = []
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))
    context = multiprocessing.get_context("spawn")
    waiting, running = list(wanted), {}
    reader, writer = context.Pipe(duplex=False)
    with reader, writer, interruption.deferred(lambda: writer.send(None)) as pending:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    cell = _next(store, waiting)
                    process = context.Process(target=_make, args=(store, cell))
                    process.start()
                    running[process.sentinel] = process, cell
                for ready in multiprocessing.connection.wait([reader, *running]):
                    if pending.signal is not None:
                        raise program.interrupted(pending.signal)
                    process, cell = running.pop(ready)
                    process.join()
                    if process.exitcode:
                        failed.append(f"{cell.model.key} (status {process.exitcode})")
                    else:
                        report(cell)
        finally:
            for process, _ in running.values():
                process.terminate()
            for process, _ in running.values():
                process.join()
    # While the last cell was reported nobody looked.
    if pending.signal is not None:
        raise program.interrupted(pending.signal)
    cells.check_none_failed(store, failed)


def _next(store, waiting):
    """Takes the first cell whose model nobody else is training, or else the first."""
    free = (place for place, cell in enumerate(waiting) if not cells.is_in_training(store, cell))
    return waiting.pop(next(free, 0))


def _make(store, cell):
    """Makes a cell in a process of its own, which ends with 1 and one line where that fails.

    Where in the code it failed is in the model's log.
    """
    # Ctrl-C reaches the whole group; the parent says what happened. SIGTERM ends this process at
    # once, and with it a training that it started (`subprocess.run` sees to that).
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        cells.make(store, cell)
    except (RuntimeError, ValueError, OSError) as error:
        log = cells.log_of(store, cell.model)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            traceback.print_exc(file=file)
        program.fail(cell.model.key, error, program.SOME_FAILED)
