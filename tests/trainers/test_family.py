"""All programs are one family: the same flags, the same help, the same last line."""

import os
import re
import subprocess
import sys

import pytest
import tensorflow as tf
from programs import PROGRAMS, ROOT, assert_refused, flags_of, run_program, suggested

from seatbelt_tf import runs
from trainers import common_flags, program

# What is worked on, how much is done, the seed, places; whatever only one program has lies between.
ORDER = (
    "run",
    "experiment",
    "dataset",
    "objective",
    "pairs",
    "weights",
    "max_evaluations",
    "manual_dir",
    "seed",
    "data_dir",
    "model_dir",
)


def _flags(text):
    """`flags_of`, each without a default that programs differ in."""
    return {
        name: re.sub(r"\(default:.*\)|Default: .*", "", meaning).strip()
        for name, meaning in flags_of(text).items()
    }


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_has_description_examples_exit_statuses_and_defaults(name, helps):
    text = helps[name]
    description, rest = text.split("\n\nExamples:\n", 1)
    assert len(description) > 80
    assert f"  python -m {PROGRAMS[name]}.{name}" in rest
    statuses = rest.partition("\n\nExit status:\n")[2].partition("\n\n")[0]
    assert {"    0  done", "    2  bad input", "  130  Ctrl-C"} <= set(statuses.splitlines())
    assert "Flags:\n  --" in rest
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize("name", PROGRAMS)
def test_examples_name_flags_that_exist(name, helps):
    examples = helps[name].partition("\n\nExamples:\n")[2].partition("\n\n")[0]
    used = {used.removeprefix("no") for used in re.findall(r"--(\w+)", examples)}
    assert used
    assert used <= {flag.removeprefix("no") for flag in flags_of(helps[name])}


def test_common_flags_come_in_one_order(helps):
    for name, text in helps.items():
        common = [flag for flag in flags_of(text) if flag in ORDER]
        assert common == sorted(common, key=ORDER.index), name


def test_flags_of_one_name_have_one_meaning(helps):
    # A training makes its run, takes one dataset of all, and counts the layers of which
    # `attacks.attack` chooses.
    its_own = {("train", name) for name in ("run", "dataset", "layers")} | {("prepare", "dataset")}
    meanings = {}
    for name, text in helps.items():
        for flag, meaning in _flags(text).items():
            if (name, flag) not in its_own:
                assert meanings.setdefault(flag, meaning) == meaning, flag
    assert len(meanings) > 60


PLACES = {
    "train": ("run", "data_dir"),
    "attack": ("run", "data_dir"),
    "evaluate": ("run", "data_dir"),
    "reproduce": ("store", "results", "published", "data_dir"),
    "prepare": ("manual_dir", "data_dir"),
    "saved_model": ("run", "model_dir"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_home_directory_is_found_in_every_place(name, tmp_path):
    code = (
        f"import sys; from {PROGRAMS[name]} import {name} as program; "
        "program.FLAGS(sys.argv); "
        f"print(*(program.FLAGS[name].value for name in {PLACES[name]}))"
    )
    given = [f"--{flag}=~/{flag}" for flag in PLACES[name]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code, *given]
    said = subprocess.check_output(command, env=environment, text=True)
    assert said.split() == [str(tmp_path / flag) for flag in PLACES[name]]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with runs."""
    for name in ("runs/sprites", "runs/trials/deep", "elsewhere/vae"):
        runs.Run(tmp_path / name).create({"model": {}})
    (tmp_path / "runs" / "vae").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("sprites", "runs/sprites"),
        ("runs/sprites", "runs/sprites"),
        ("trials/deep", "runs/trials/deep"),
        ("elsewhere/vae", "elsewhere/vae"),
        ("runs", "runs"),
    ],
)
def test_a_run_is_found_by_directory_or_by_name(given, found, place):
    assert str(common_flags.find_run(given).path) == found
    assert common_flags.find_run(str(place / found)).path == place / found


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("spr", "runs/sprites"),
        ("runs/spr", "runs/sprites"),
        ("trials/d", "runs/trials/deep"),
        ("elsewhere/v", "elsewhere/vae"),
    ],
)
def test_the_beginning_of_one_runs_name_is_enough_and_the_run_is_told(given, found, place, capsys):
    assert str(common_flags.find_run(given).path) == found
    assert capsys.readouterr().out == f"--run={given}: {found}\n"
    whole, cut = place / found, place / found[:-1]
    assert common_flags.find_run(str(cut)).path == whole
    assert capsys.readouterr().out == f"--run={cut}: {whole}\n"


def test_a_name_is_no_beginning_of_another_and_one_of_several_is_refused(place, capsys):
    for name in ("sprites_long", "sprints"):
        runs.Run(place / "runs" / name).create({"model": {}})
    assert str(common_flags.find_run("sprites").path) == "runs/sprites"
    assert capsys.readouterr().out == ""
    together = "so begin: runs/sprints, runs/sprites, runs/sprites_long"
    with pytest.raises(ValueError, match=together):
        common_flags.find_run("spri")
    # Whoever types a whole name with a number means no other number.
    runs.Run(place / "runs" / "beta10").create({"model": {}})
    with pytest.raises(ValueError, match="did you mean 'runs/beta10'"):
        common_flags.find_run("beta1")
    assert str(common_flags.find_run("beta").path) == "runs/beta10"
    # A training that goes on writes into the run.
    with pytest.raises(ValueError, match="did you mean 'runs/beta10'"):
        common_flags.find_run("beta", completed=False)
    # A directory that holds no run is none.
    with pytest.raises(ValueError, match="there are: runs/"):
        common_flags.find_run("va")


def test_a_run_is_found_beside_a_directory_of_its_name(place):
    (place / "sprites").mkdir()
    assert str(common_flags.find_run("sprites").path) == "runs/sprites"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), 7),
        (tf.errors.ResourceExhaustedError(None, None, "OOM"), 7),
        # What TensorFlow says when it cannot write events.
        (tf.errors.ResourceExhaustedError(None, None, "events; No space left on device"), 5),
        (OSError("full"), 5),
        (BrokenPipeError("of a worker"), 5),
        (ValueError("bad"), 2),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_status(error, status, monkeypatch, capsys):
    def main():
        raise error

    monkeypatch.setattr(sys, "argv", ["trainers/none.py"])
    monkeypatch.setattr(program.interruption, "watch", lambda: None)
    monkeypatch.setattr(program, "FLAGS", lambda arguments: arguments)
    with pytest.raises(SystemExit) as stopped:
        program.start(main, "")
    assert stopped.value.code == status
    assert capsys.readouterr().err.count("\n") == 1


def test_the_package_lists_every_program_with_a_line_each(tmp_path):
    files = [*(ROOT / "trainers").glob("*.py"), *(ROOT / "export").glob("*.py")]
    starting = {path.stem for path in files if "program.start(main" in path.read_text("utf-8")}
    assert starting == set(PROGRAMS)
    result = run_program("__main__", directory=tmp_path, without_tensorflow=True)
    assert (result.returncode, result.stderr) == (0, "")
    lines = re.findall(r"^  python -m (\S+)  +\S+ \S+", result.stdout, re.MULTILINE)
    assert sorted(lines) == sorted(f"{package}.{name}" for name, package in PROGRAMS.items())
    assert result.stdout.splitlines()[-1].endswith(" -m trainers.train --help")
    other = run_program("__main__", "train", directory=tmp_path, without_tensorflow=True)
    assert_refused(other, "'train'", "python -m trainers.train")


def _said_into(output, *arguments):
    """Status and standard error of trainers.train where standard output is a file or pipe."""
    command = [sys.executable, "-m", "trainers.train", *arguments]
    result = subprocess.run(
        command, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, text=True, check=False
    )
    return result.returncode, result.stderr


@pytest.mark.parametrize("flag", ["--help", "--list_datasets"])
def test_a_program_whose_output_nobody_reads_ends_without_a_line(flag):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as output:
        assert _said_into(output, flag) == (141, "")


@pytest.mark.parametrize("flag", ["--help", "--list_datasets"])
def test_output_that_cannot_be_written_is_an_error(flag):
    with open("/dev/full", "w") as output:
        status, said = _said_into(output, flag)
    assert (status, said.count("\n")) == (5, 1)
    assert "No space left" in said


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("spirtes", "did you mean 'runs/sprites'"),
        ("runs/spirtes", "did you mean 'runs/sprites'"),
        ("trials/dep", "did you mean 'runs/trials/deep'"),
        ("elsewhere/vea", "did you mean 'elsewhere/vae'"),
        ("nowhere/x", "no config.json"),
        ("x" * 300, "no config.json"),
        ("x" * 300 + "/y", "no config.json"),
        ("", "--run=NAME"),
        (None, "--run=NAME"),
    ],
)
def test_a_name_that_fits_none_is_refused_with_the_nearest(given, hint, place):
    with pytest.raises(ValueError, match=re.escape(hint)):
        common_flags.find_run(given)


def test_the_programs_lead_from_one_to_the_next(trained):
    assert suggested(trained.result) == ["trainers.evaluate", "--run=run"]


@pytest.mark.parametrize(
    ("variables", "is_quiet"), [({}, True), ({"SEATBELT_VERBOSE": "1"}, False)]
)
def test_tensorflow_is_quiet_unless_asked(variables, is_quiet):
    code = (
        "from trainers import program; program.import_tensorflow(); program.has_bfloat16(); "
        "import tensorflow as tf; one = tf.ones([1, 1], tf.bfloat16); tf.matmul(one, one); "
        "import os; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    )
    names = ("SEATBELT_VERBOSE", "TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True
    )
    assert (result.stderr == b"") == is_quiet
    assert result.stdout == b"1\n"


@pytest.mark.parametrize(
    ("level", "is_shown"), [(None, False), ("0", True), ("1", True), ("2", False)]
)
def test_tensorflows_own_variable_shows_its_lines_too(level, is_shown, monkeypatch, capfd):
    monkeypatch.delenv("SEATBELT_VERBOSE", raising=False)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    if level is not None:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda: os.write(2, b"a line\n"))
    program.import_tensorflow()
    assert (capfd.readouterr().err == "a line\n") == is_shown
