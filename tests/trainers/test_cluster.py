"""TF_CONFIG, and workers that come or do not; no TensorFlow."""

import json
import socket
import threading

import programs
import pytest

from trainers import cluster

TWO = ("localhost:1", "localhost:2")


def _config(workers=TWO, kind="worker", index=0, job="worker"):
    return json.dumps({"cluster": {job: workers}, "task": {"type": kind, "index": index}})


BAD = {
    "": "nothing",
    "{": "host:port",
    "[]": "host:port",
    '{"cluster": {"worker": ["a:1"]}}': "host:port",
    _config(workers=[]): "host:port",
    _config(workers=["localhost"]): "host:port",
    _config(workers=["localhost:x"]): "host:port",
    _config(workers=["localhost:70000"]): "host:port",
    _config(workers=[1]): "host:port",
    _config(kind="ps"): "host:port",
    _config(job="ps"): "host:port",
    _config(workers=["a:1", "a:1"]): "address of its own",
    _config(index=2): "from 0 to 1",
    _config(index=-1): "from 0 to 1",
    _config(index="0"): "from 0 to 1",
    _config(index=True): "from 0 to 1",
}


@pytest.mark.parametrize("text", BAD)
def test_a_wrong_description_is_refused(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG") as error:
        cluster.from_environment()
    assert BAD[text] in str(error.value)


def test_a_right_description_is_read(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", _config(index=1))
    found = cluster.from_environment()
    assert found == (TWO, 1)
    assert not found.is_chief
    assert found.name(0) == "worker 0 (localhost:1)"


def _addresses(count):
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("localhost", 0))
    found = tuple(f"localhost:{opened.getsockname()[1]}" for opened in sockets)
    for opened in sockets:
        opened.close()
    return found


def _wait(addresses, *waiting, seconds):
    """Has some of the workers wait for all of them, at once; what they raised, as texts."""
    errors = []

    def wait(index):
        try:
            cluster.Cluster(addresses, index).wait(seconds)
        except ValueError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=wait, args=(index,)) for index in waiting]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_a_worker_that_does_not_come_is_named():
    addresses = _addresses(2)
    (error,) = _wait(addresses, 0, seconds=0.5)
    assert f"nothing from worker 1 ({addresses[1]})" in error
    assert "2 workers within 0.5 s" in error


def test_a_worker_whose_server_is_up_is_met():
    with socket.socket() as server:
        server.bind(("", 0))
        server.listen()
        addresses = (*_addresses(1), f"localhost:{server.getsockname()[1]}")
        assert _wait(addresses, 0, seconds=5.0) == []
        assert cluster.Cluster(addresses, 1).absent() == [0]


def test_a_port_that_is_taken_is_said():
    with socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen()
        address = f"localhost:{listener.getsockname()[1]}"
        with pytest.raises(ValueError, match="a free port for worker 0"):
            cluster.Cluster((address,), 0).wait(1.0)


PROGRAM_BAD = {
    "no TF_CONFIG": ("", (), "TF_CONFIG"),
    "indivisible": (_config(), ("--batch_size=33",), "a multiple of 2 workers"),
    "indivisible parts": (_config(), ("--batch_size=36", "--accumulate=4"), "2 workers × 4 parts"),
    "no parts": (_config(), ("--accumulate=0",), "accumulate"),
    "compiled": (_config(), ("--xla",), "--strategy=default"),
    "alone": (_config(_addresses(2)), ("--worker_timeout=0.5",), "nothing from worker 1"),
}


@pytest.mark.parametrize("case", PROGRAM_BAD)
def test_the_program_refuses_in_one_line_without_tensorflow(case, tmp_path, monkeypatch):
    text, arguments, words = PROGRAM_BAD[case]
    monkeypatch.setenv("TF_CONFIG", text)
    result = programs.run_program(
        "train",
        "--strategy=multi_worker",
        "--run=run",
        *arguments,
        directory=tmp_path,
        without_tensorflow=True,
    )
    programs.assert_refused(result, words)
    assert not (tmp_path / "run" / "config.json").exists()
