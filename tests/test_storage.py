"""Locks between processes, leftovers, strict JSON, links."""

import errno
import json
import os
import subprocess
import sys

import hostile
import programs
import pytest

from seatbelt_tf import runs, storage


def _python(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=dict(os.environ, PYTHONPATH=str(programs.ROOT)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


_SHARE = """
import pathlib, sys
from seatbelt_tf import storage
directory, name = pathlib.Path(sys.argv[1]), sys.argv[2]
for path in storage.unfinished(directory / f"{i}.txt" for i in range(40)):
    with (directory / "log").open("a") as log:
        log.write(f"{path.name}\\n")
    with storage.replacing(path) as temporary:
        temporary.write_text(name)
"""


def test_processes_share_the_work_and_do_nothing_twice(tmp_path):
    with (
        _python(_SHARE, tmp_path, "a") as one,
        _python(_SHARE, tmp_path, "b") as two,
        _python(_SHARE, tmp_path, "c") as three,
    ):
        assert [worker.wait() for worker in (one, two, three)] == [0, 0, 0]
    assert sorted((tmp_path / "log").read_text().split()) == sorted(f"{i}.txt" for i in range(40))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


_DIE = """
import os, sys
from seatbelt_tf import storage
with storage.claim(sys.argv[1]) as is_mine, storage.replacing(sys.argv[1]) as temporary:
    assert is_mine
    temporary.write_text("half")
    print("claimed", flush=True)
    sys.stdin.read()
"""


def test_a_killed_holder_leaves_no_lock_and_its_leftovers_are_removed(tmp_path):
    path = tmp_path / "a.txt"
    with _python(_DIE, path) as worker:
        assert worker.stdout.readline() == "claimed\n"
        with storage.claim(path) as is_mine:
            assert not is_mine
        assert storage.holder(path) == f"process {worker.pid}"
        worker.kill()
    assert len(list(tmp_path.iterdir())) == 2
    with storage.claim(path) as is_mine:
        assert is_mine
        assert [entry.name for entry in tmp_path.iterdir()] == [".a.txt.lock"]
    assert list(tmp_path.iterdir()) == []


_FINISH = """
import sys
from seatbelt_tf import storage
print("started", flush=True)
print(len(list(storage.unfinished(sys.argv[1:]))))
"""


def test_what_a_killed_process_was_making_goes_to_the_one_that_waits(tmp_path):
    path = tmp_path / "a.txt"
    with _python(_DIE, path) as worker:
        worker.stdout.readline()
        with _python(_FINISH, path) as waiting:
            assert waiting.stdout.readline() == "started\n"
            worker.kill()
            assert waiting.stdout.readline() == "1\n"


def test_a_text_takes_its_place_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "notes.txt"
    runs.write_text(path, "β = 6\n")
    with pytest.raises(UnicodeEncodeError):
        runs.write_text(path, "half of it, then \udc80")
    assert path.read_text(encoding="utf-8") == "β = 6\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_looked_at_is_refused(tmp_path, monkeypatch):
    storage.check_place("run", tmp_path / "new" / "run")
    with pytest.raises(ValueError, match=r"written to \(.*File name too long"):
        storage.check_place("run", tmp_path / ("x" * 300))

    def refuse(path, **_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    # The tests may be run by root, whom no directory refuses.
    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(ValueError, match=r"written to \(.*Permission denied"):
        runs.Run(tmp_path / "run").check_new()
    with pytest.raises(ValueError, match=r"no config\.json"):
        runs.Run(tmp_path / "run").check_trained()


@pytest.mark.parametrize("kind", hostile.CONFIGS)
def test_configurations_from_elsewhere_are_read_strictly(kind, tmp_path):
    run = runs.Run(tmp_path)
    hostile.write_config(run.config_file, hostile.CONFIGS[kind])
    with pytest.raises(ValueError, match=r"readable config\.json of format 1"):
        run.config()


def test_a_misspelt_field_is_answered_with_the_nearest_name(tmp_path):
    run = runs.Run(tmp_path)
    hostile.write_config(run.config_file, hostile.CONFIGS["a misspelt field"])
    with pytest.raises(ValueError, match="did you mean 'latent_dims'"):
        run.config()


def test_a_run_with_a_link_out_of_its_directory_is_refused(tmp_path):
    run = runs.Run(tmp_path / "run")
    run.create(programs.SMALLEST)
    (tmp_path / "secret").mkdir()
    inside = run.path / "inside"
    inside.symlink_to(run.config_file)
    run.config()
    run.attacks.symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="a link out of it"):
        run.config()
    run.create(programs.SMALLEST, overwrite=True)
    assert (tmp_path / "secret").is_dir()
    assert not run.attacks.exists()


def test_two_processes_never_hold_one_run(tmp_path):
    run = runs.Run(tmp_path / "run")
    with run.held():
        run.create(programs.SMALLEST)
        with pytest.raises(ValueError, match=f"process {os.getpid()}"), run.held():
            pass
    with run.held():
        pass
    assert json.loads(run.config_file.read_text()) == {"format": 1, **programs.SMALLEST}
