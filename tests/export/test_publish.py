"""Version directories: complete or absent, whatever interrupts."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from programs import ROOT
from serving import make_run

from export import cpp_loader, publish


def write_something(directory):
    (directory / "saved_model.pb").write_bytes(b"model")
    (directory / "variables").mkdir()
    (directory / "variables" / "data").write_bytes(b"weights")


def test_versions_are_counted_up_and_never_overwritten(tmp_path):
    assert publish.publish(tmp_path / "m", write_something) == tmp_path / "m" / "1"
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"mine")
    (tmp_path / "m" / "7").mkdir()
    (tmp_path / "m" / "notes").mkdir()
    assert publish.publish(tmp_path / "m", write_something).name == "8"
    assert publish.versions(tmp_path / "m") == [1, 7, 8]
    assert (tmp_path / "m" / "1" / "saved_model.pb").read_bytes() == b"mine"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError, ValueError])
def test_an_interrupted_export_leaves_nothing(interruption, tmp_path):
    def interrupted(directory):
        write_something(directory)
        assert not directory.name.isdigit()
        raise interruption

    with pytest.raises(interruption):
        publish.publish(tmp_path, interrupted)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_is_no_version_and_is_removed_by_the_next(tmp_path):
    code = (
        "import os, signal, pathlib; from export import publish\n"
        "def build(directory):\n"
        "    (directory / 'saved_model.pb').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"publish.publish({str(tmp_path)!r}, build)"
    )
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    killed = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert (left / "saved_model.pb").read_bytes() == b"half"
    assert publish.versions(tmp_path) == []
    assert publish.publish(tmp_path, write_something).name == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_permissions_are_those_that_the_user_gives_new_files(tmp_path):
    mask = os.umask(0o027)
    try:
        version = publish.publish(tmp_path / "m", write_something)
    finally:
        os.umask(mask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (version, *version.rglob("*"))}
    assert modes == {"1": 0o750, "saved_model.pb": 0o640, "variables": 0o750, "data": 0o640}


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_place_that_cannot_be_written_to_is_refused(place, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="Invalid value for model_dir"):
        publish.check_place(tmp_path / place)


@pytest.mark.slow
def test_killed_at_twenty_moments_an_export_leaves_no_loadable_partial_version(tmp_path):
    make_run(tmp_path / "run")
    command = [sys.executable, "-m", "export.saved_model", "--run=run", "--model_dir=m"]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))

    def start():
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    started = time.monotonic()
    with start() as process:
        assert process.wait() == 0
    whole = time.monotonic() - started
    complete = sorted(path.relative_to(tmp_path / "m/1") for path in (tmp_path / "m/1").rglob("*"))
    moments = random.Random(5)
    kills = 0
    while kills < 20:
        with start() as process:
            # The import of TensorFlow, in which nothing is written, is left out.
            try:
                process.wait(moments.uniform(0.3, 1.0) * whole)
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
        for number in publish.versions(tmp_path / "m"):
            version = tmp_path / "m" / str(number)
            assert sorted(path.relative_to(version) for path in version.rglob("*")) == complete
    with cpp_loader.Loader(tmp_path / "m" / str(publish.versions(tmp_path / "m")[-1])) as loader:
        assert "encode" in loader.signatures
