"""A signal is honoured whenever it comes, and a cell that fails is told in one line.

Signals arrive as `interruption` passes them on; processes, the cluster and the steps are stand-ins.
"""

import multiprocessing
import os
import signal
import sys
import types

import pytest
import tensorflow as tf

from trainers import interruption, program, training
from trainers.studies import cells, executor, ray_executor, scales
from trainers.studies.zoo import Zoo

CELL = cells.Cell(Zoo(scales.SCALES["smoke"], "sprites", None).single(1.0), ())


def _interrupt(*_):
    interruption._pending.arrive(signal.SIGTERM)


class _Context:
    """Processes that have ended as soon as they are started."""

    Pipe = staticmethod(multiprocessing.Pipe)

    def Process(self, target, args):  # noqa: N802
        del target, args
        reader, writer = os.pipe()
        os.close(writer)
        return types.SimpleNamespace(
            start=lambda: None, join=lambda: os.close(reader), sentinel=reader, exitcode=0
        )


def test_a_signal_while_the_last_cell_is_reported_ends_the_study(tmp_path, monkeypatch):
    monkeypatch.setattr(executor.multiprocessing, "get_context", lambda _: _Context())
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    with pytest.raises(program.StopError, match="stopped by SIGTERM") as stop:
        executor.work_off(tmp_path, [CELL], 1, _interrupt)
    assert stop.value.status == 143


def test_a_signal_while_the_last_task_is_reported_ends_the_study(tmp_path, monkeypatch):
    nothing = types.SimpleNamespace(remote=lambda *_: "reference")
    ray = types.SimpleNamespace(
        init=lambda **_: None,
        remote=lambda **_: lambda _: nothing,
        wait=lambda running, timeout: (running, [timeout]),
        get=lambda _: None,
        shutdown=lambda: None,
        exceptions=types.SimpleNamespace(RayError=RuntimeError),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(interruption, "take_signals", lambda: None)
    with pytest.raises(program.StopError, match="stopped by SIGTERM") as stop:
        ray_executor.work_off(tmp_path, [CELL], "auto", 1, 0, _interrupt)
    assert stop.value.status == 143


def test_a_signal_while_the_last_step_is_reported_ends_the_training(monkeypatch):
    keeper = types.SimpleNamespace(step=0, is_due=False, save=lambda: None)
    keeper.stop = program.StopError

    def compiled(_strategy, _model, _xla, is_stopping):
        def steps(_iterator, count, _is_due):
            keeper.step += int(count)
            return is_stopping > 0, tf.constant(False)

        return steps

    monkeypatch.setattr(training, "_compiled_steps", compiled)
    monkeypatch.setattr(training, "_running_means", _interrupt)
    monkeypatch.setattr(training.splits, "check_same_images", lambda _: None)
    monkeypatch.setattr(training.distribution, "is_chief", lambda _: False)
    monkeypatch.setattr(training.distribution, "batches", lambda *_: None)
    config = {"data": {}, "training": {"steps": 10, "batch_size": 4, "xla": False}}
    with pytest.raises(program.StopError, match="SIGTERM") as stop:
        training._loop(None, config, None, None, None, keeper)
    assert (stop.value.status, keeper.step) == (143, 10)


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, OSError])
def test_a_cell_that_fails_is_told_in_one_line(kind, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise kind("the training\nended")

    monkeypatch.setattr(executor.cells, "make", fail)
    monkeypatch.setattr(executor.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as stop:
        executor._make(tmp_path, CELL)
    assert stop.value.code == program.SOME_FAILED
    assert capsys.readouterr().err == f"{CELL.model.key}: the training ended\n"
