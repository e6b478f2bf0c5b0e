"""Checkpoints: nine ways to damage them, none silent; a full disk; numbers that are not finite."""

import errno

import numpy as np
import pytest

from seatbelt_tf import checkpoints, runs, storage, tensors


def _arrays(step):
    return {"model/kernel": np.full((50, 4), step, np.float32), "steps": np.array(step)}


EXPECTED = {name: (array.shape, array.dtype) for name, array in _arrays(0).items()}


def _truncate(kept):
    path = kept.paths()[-1][1]
    path.write_bytes(path.read_bytes()[:-200])


def _flip(kept):
    path = kept.paths()[-1][1]
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def _empty(kept):
    kept.paths()[-1][1].write_bytes(b"")


def _remove_latest(kept):
    kept.paths()[-1][1].unlink()


def _replace_by_another(kept):
    tensors.save(kept.paths()[-1][1], _arrays(1))


def _other_shapes(kept):
    tensors.save(kept.paths()[-1][1], {"model/kernel": np.zeros((1, 4), np.float32)})


def _remove_bookkeeping(kept):
    (kept.directory / "latest.json").unlink()


def _damage_bookkeeping(kept):
    (kept.directory / "latest.json").write_text('{"file"')


def _remove_all(kept):
    for _, path in kept.paths():
        path.unlink()


MUTATIONS = {  # the step restored, or None for refusal
    _truncate: 20,
    _flip: 20,
    _empty: 20,
    _remove_latest: 20,
    _replace_by_another: 20,
    _other_shapes: 20,
    _remove_bookkeeping: 30,
    _damage_bookkeeping: 30,
    _remove_all: None,
}


def _kept(directory):
    kept = checkpoints.Checkpoints(directory, keep=3)
    for step in (0, 10, 20, 30):
        kept.save(step, _arrays(step))
    return kept


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_damage_is_reported_and_the_newest_good_one_used(mutate, tmp_path):
    kept, reports = _kept(tmp_path), []
    mutate(kept)
    if MUTATIONS[mutate] is None:
        with pytest.raises(ValueError, match="--overwrite"):
            kept.restore(EXPECTED, reports.append)
        return
    step, arrays = kept.restore(EXPECTED, reports.append)
    assert (step, int(arrays["steps"])) == (MUTATIONS[mutate],) * 2
    assert len(reports) == 1
    # What was damaged is out of the way, and is reported once.
    kept.save(40, _arrays(40))
    assert kept.restore(EXPECTED, reports.append)[0] == 40
    assert len(reports) == 1


def test_three_are_kept_and_nothing_is_restored_where_nothing_was_saved(tmp_path):
    kept = checkpoints.Checkpoints(tmp_path, keep=3)
    assert kept.restore(EXPECTED, pytest.fail) is None
    kept = _kept(tmp_path)
    assert [step for step, _ in kept.paths()] == [10, 20, 30]
    (tmp_path / ".step-00000040-0-abcdefgh.npz").write_text("half")
    assert kept.restore(EXPECTED, pytest.fail)[0] == 30
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_leaves_the_earlier_checkpoints(tmp_path, monkeypatch):
    kept = _kept(tmp_path)

    def write_half_and_fail(file, **_):
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", write_half_and_fail)
    with pytest.raises(OSError, match="No space left"):
        kept.save(40, _arrays(40))
    assert not list(tmp_path.glob(".*"))
    assert kept.restore(EXPECTED, pytest.fail)[0] == 30


def test_a_state_that_is_not_finite_is_never_written(tmp_path):
    kept = _kept(tmp_path)
    with pytest.raises(FloatingPointError, match="model/kernel is not finite at step 40"):
        kept.save(40, {"model/kernel": np.array([1.0, np.nan])})
    assert kept.restore(EXPECTED, pytest.fail)[0] == 30


def test_a_run_that_lost_its_checkpoints_does_not_start_from_scratch(tmp_path):
    run = runs.Run(tmp_path / "run")
    run.create({"model": {}})
    assert not run.check_resumable()
    run.append_metrics({"step": 10})
    with pytest.raises(ValueError, match="--overwrite"):
        run.check_resumable()
    checkpoints.Checkpoints(run.checkpoints).save(10, _arrays(10))
    assert run.check_resumable()


def test_leftovers_are_no_checkpoints(tmp_path):
    with storage.replacing(tmp_path / "step-00000010-0123456789abcdef.npz") as path:
        path.write_text("half")
        assert checkpoints.Checkpoints(tmp_path).paths() == []
