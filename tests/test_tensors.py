"""Arrays in .npz: what was written is read; what was forged is refused before it costs memory."""

import errno
import os
import threading
import tracemalloc

import hostile
import numpy as np
import pytest

from seatbelt_tf import checkpoints, storage, tensors

ARRAYS = {
    "a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.asfortranarray(np.arange(6.0).reshape(3, 2)),
    "steps": np.array(7, np.int64),
    "none": np.zeros((0, 3), np.float32),
}


def _expected(arrays):
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def test_arrays_come_back_by_name_shape_type_and_bit(tmp_path):
    path = tmp_path / "a.npz"
    tensors.save(path, ARRAYS)
    loaded = tensors.load(path, _expected(ARRAYS))
    assert _expected(loaded) == _expected(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array)
    assert tensors.digest(loaded) == tensors.digest(ARRAYS)
    np.savez_compressed(path, x=np.zeros(1000))
    np.testing.assert_array_equal(tensors.load(path)["x"], np.zeros(1000))


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays | {"steps": np.array(8, np.int64)},
        lambda arrays: arrays | {"steps": np.array(7, np.int32)},
        lambda arrays: arrays | {"none": np.zeros((3, 0), np.float32)},
        lambda arrays: arrays | {"c": arrays["b"]},
    ],
)
def test_the_digest_depends_on_names_shapes_types_and_contents(change):
    assert tensors.digest(change(ARRAYS)) != tensors.digest(ARRAYS)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"b": ((3, 2), np.dtype(np.float64))}, "a/kernel"),
        (_expected(ARRAYS) | {"c": ((), np.dtype(np.int8))}, "c is missing"),
        (_expected(ARRAYS) | {"b": ((2, 3), np.dtype(np.float64))}, r"not float64 of \(2, 3\)"),
        (_expected(ARRAYS) | {"b": ((3, 2), np.dtype(np.float32))}, r"not float32"),
    ],
)
def test_other_arrays_than_expected_are_refused(expected, message, tmp_path):
    tensors.save(tmp_path / "a.npz", ARRAYS)
    with pytest.raises(ValueError, match=message):
        tensors.load(tmp_path / "a.npz", expected)


def test_a_damaged_file_that_is_being_replaced_is_waited_for(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK")
    with storage.claim(path):
        found = []
        other = threading.Thread(
            target=lambda: found.append(tensors.load_whole(path, set_aside=True))
        )
        other.start()
        other.join(0.2)
        tensors.save(path, ARRAYS)
    other.join()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]
    assert found[0].keys() == ARRAYS.keys()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_a_file_that_cannot_be_read_is_not_taken_for_damaged(number, tmp_path, monkeypatch):
    kept = checkpoints.Checkpoints(tmp_path)
    path = kept.save(1, ARRAYS)

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patches:
        patches.setattr(tensors.zipfile, "ZipFile", refuse)
        for read in (
            lambda: tensors.load(path),
            lambda: tensors.load_whole(path, set_aside=True),
            lambda: kept.restore(_expected(ARRAYS), pytest.fail),
        ):
            with pytest.raises(OSError, match=os.strerror(number)):
                read()
    assert kept.restore(_expected(ARRAYS), pytest.fail)[0] == 1


def test_an_archive_that_points_before_its_beginning_is_damaged(tmp_path):
    path = tmp_path / "a.npz"
    tensors.save(path, {"x": np.arange(40)})
    data = bytearray(path.read_bytes())
    # The end record's offset of the directory: too large, so that members lie at negative places.
    data[-6:-2] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="renamed"):
        assert tensors.load_whole(path, set_aside=True) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.damaged"]


def test_nothing_is_written_beside_what_is_whole_or_only_read(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    tensors.save(path, ARRAYS)
    monkeypatch.setattr(storage, "claim", lambda *_, **__: pytest.fail("claimed"))
    assert tensors.load_whole(tmp_path / "b.npz", set_aside=True) is None
    for names in ((), list(ARRAYS), list(ARRAYS)[:1]):
        found = tensors.load_whole(path, names, set_aside=True)
        assert found.keys() == ARRAYS.keys()
    with pytest.warns(UserWarning, match=r"a\.npz counts as missing: it holds .*'c'"):
        assert tensors.load_whole(path, [*ARRAYS, "c"]) is None
    path.write_bytes(b"PK")
    with pytest.warns(UserWarning, match=r"a\.npz counts as missing"):
        assert tensors.load_whole(path) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("maker", hostile.NPZ)
def test_hostile_archives_are_refused_in_little_memory(maker, tmp_path):
    path, trap = tmp_path / "a.npz", tmp_path / "trap"
    hostile.NPZ[maker](path, trap)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"arrays by name in \.npz"):
            tensors.load(path, max_bytes=2**20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not trap.exists()
    assert peak < 2**23


def test_every_truncation_and_every_flipped_byte_of_the_data_is_noticed(tmp_path):
    path = tmp_path / "a.npz"
    tensors.save(path, {"x": np.arange(40, dtype=np.float32)})
    good = path.read_bytes()
    start = good.index(np.arange(40, dtype=np.float32).tobytes())
    for place in range(start, start + 160, 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 16]) + good[place + 1 :])
        with pytest.raises(ValueError, match="npz"):
            tensors.load(path)
        path.write_bytes(good[:place])
        with pytest.raises(ValueError, match="npz"):
            tensors.load(path)
