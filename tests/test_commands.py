"""Every command that the README and the guide show is one that works."""

import configparser
import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from programs import PROGRAMS, ROOT, flags_of

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = ("trainers.", "export.", "benchmarks.")
# TF Serving's, TensorBoard's and Ray's; `--name=value` is the form of all.
OTHERS_FLAGS = {"model_config_file", "enable_batching", "batching_parameters_file", "logdir"}
OTHERS_FLAGS |= {"head", "name"}

# The README's commands that are run, each with what makes it small; the slow ones in this order in
# one directory.
QUICK = {
    "trainers.train --help": "",
    "trainers.reproduce --list": "",
    "trainers.reproduce --experiment=figure1": "--dry_run",
    "trainers.reproduce --experiment=figure5 --dry_run": "",
    "trainers.reproduce --experiment=all --workers=2 --data_dir=DATA_DIR": (
        "--dataset=sprites --data_dir=. --dry_run"
    ),
}
SLOW = {
    "trainers.train --run=runs/sprites": "--steps=2 --batch_size=16 --latent_dims=4,3",
    "trainers.attack --run=runs/sprites": "--pairs=2 --weights=3 --max_evaluations=3",
    "trainers.evaluate --run=runs/sprites": (
        "--pairs=2 --weights=3 --max_evaluations=3 --images=100"
    ),
    "export.saved_model --run=runs/sprites --model_dir=models/seatbelt": "",
    "tensorboard --logdir=runs": "--inspect",
    "benchmarks.train_step --json=results/train_step.json": "--batch_size=8 --turns=1 --steps=1",
    "benchmarks.train_step --precision=mixed_bfloat16 --json=results/train_step_bfloat16.json": (
        "--batch_size=8 --turns=1 --steps=1"
    ),
    "benchmarks.total_correlation --json=results/total_correlation.json": "--rows 16 --units 2",
    "benchmarks.precision --json=results/precision.json": "--seed 0 1 --steps=2",
    "benchmarks.half_precision --json=results/half_precision.json": "--batch_size=4 --turns=1",
    "benchmarks.onednn --json=results/onednn.json": "--batch_size=4 --turns=1",
    "benchmarks.defences --json=results/defences_cost.json": "--batch_size=2 --turns=1",
    "benchmarks.gpu_step --directory=exported": "--batch_size=4 --layers=1 --image_size=32",
    "benchmarks.attack --run runs/recipes/L4_beta6_fast runs/recipes/L1_d64_beta1_fast": (
        "--run runs/sprites --pairs 1 --weights 2 --scipy 2 --max_evaluations 3"
    ),
    "benchmarks.faults --json=results/faults.json": "--only=poison",
    "benchmarks.serving --requests=60 --processes=3 --json=results/serving.json": (
        "--requests=1 --processes=1"
    ),
}
NOT_RUN = {
    "venv .venv": "CI types it",
    ". .venv/bin/activate": "changes nothing but the shell",
    "pytest -q -n 2": "CI types it",
    ".venv/bin/pip install -q -e .": "CI installs the same with an extra",
    ".venv/bin/pip install -q -e .[test]": "CI types it",
    "pip install -q -e .[export]": "CI installs it as a part of .[test]",
    "pip install -e .[benchmarks,ray,test]": "PyTorch is large",
    "benchmarks.ancestors": "needs a trained model of several layers",
    "benchmarks.datasets": "needs CIFAR-10",
    "benchmarks.free_bits": "twelve trainings",
    "benchmarks.recipes": "six trainings of 384,000 images",
    "benchmarks.scaling": "a quarter of an hour and Ray",
    "python exported/time_programs.py": "needs jaxlib",
    "benchmarks.attack --run runs/recipes/L4_beta6_fast --scaling "
    "--json=results/attack_scaling.json": "5,000 attacks",
    "docker run": "needs TF Serving; compared below with what the export suggests",
    "echo": "a pipe into curl: tests/export/test_client.py runs it",
    "curl": "tests/export/test_client.py runs it",
}


def _commands(page):
    """The commands in a page's sh blocks and code spans: lists of words."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    lines += [span for span in _spans(text) if re.match(r"(\S*python3?|\S*pip|tensorboard) ", span)]
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&")
        lexer.whitespace_split = True
        words = []
        for word in [*lexer, "&&"]:
            if word not in ("&&", "|"):
                words.append(word)
            elif words:
                yield words
                words = []


def _spans(text):
    """The code spans of a page, each in one line."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def _key(words):
    """A command as the tables above have it."""
    is_module = "python" in words[0] and words[1] == "-m"
    return " ".join(words[2:] if is_module else words)


def _flags_in(texts):
    return {flag for text in texts for flag in re.findall(r"(?<![\w-])--(\w+)", text)}


@pytest.fixture(scope="module")
def flags(helps):
    """The flags of every program: dict of module to set of names."""
    found = {f"{PROGRAMS[name]}.{name}": {*flags_of(text), "help"} for name, text in helps.items()}
    for path in (ROOT / "benchmarks").glob("*.py"):
        names = re.findall(r'add_argument\(\s*"--(\w+)"', path.read_text(encoding="utf-8"))
        found[f"benchmarks.{path.stem}"] = {*names, "help"}
    return found


# Of benchmarks: switches, and what is otherwise not written or a model that is not trained.
WITHOUT_DEFAULT = {"sweep", "scaling", "json", "run", "dataset"}
_HELPS = """
import contextlib, importlib, io, json, sys, unittest.mock

sys.modules.setdefault("jaxlib", unittest.mock.MagicMock())
sys.modules.setdefault("jaxlib.version", unittest.mock.MagicMock())
found, names = {}, sys.argv[1:]
sys.argv = ["", "--help"]
for name in names:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        importlib.import_module(f"benchmarks.{name}").main()
    found[name] = text.getvalue()
print(json.dumps([found, "tensorflow" in sys.modules]))
"""


def test_benchmarks_say_to_help_what_each_option_is_with_its_default_and_an_example(flags):
    programs = [
        path.stem
        for path in (ROOT / "benchmarks").glob("*.py")
        if "__main__" in path.read_text(encoding="utf-8")
    ]
    command = [sys.executable, "-c", _HELPS, *programs]
    helps, is_tensorflow_loaded = json.loads(subprocess.check_output(command, cwd=ROOT, text=True))
    assert not is_tensorflow_loaded
    for name, text in helps.items():
        options, _, examples = text.partition("\nexamples:\n")
        assert f"benchmarks.{name}" in examples or f"{name}.py" in examples
        assert _flags_in([examples]) <= set().union(*flags.values())
        told = {}
        for part in re.split(r"^  --", options, flags=re.MULTILINE)[1:]:
            told[part.split()[0]] = " ".join(part.split())
        assert {*told, "help"} == flags[f"benchmarks.{name}"]
        for option, words in told.items():
            has_default = "(default: " in words or "(required)" in words
            assert has_default or option in WITHOUT_DEFAULT, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_flags_and_extras_exist(page, flags):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for words in _commands(page):
        module = _key(words).split()[0]
        if module.startswith(OURS):
            assert _flags_in(words) <= flags[module], words
        elif "pip" in words[0]:
            extras = re.findall(r"(?<=[\[,])\w+(?=[\],])", " ".join(words))
            assert set(extras) <= set(setup["options.extras_require"]), words
    known = OTHERS_FLAGS.union(*flags.values())
    mentioned = _flags_in(_spans(page.read_text(encoding="utf-8")))
    assert {flag.removeprefix("no") for flag in mentioned - known} <= known


def test_recorded_commands_have_options_that_there_are(flags):
    results = ROOT / "results"
    records = [*results.glob("*.json"), *results.glob("reproduction/*/*/record.json")]
    written = "".join(path.read_text(encoding="utf-8") for path in records)
    tables = "".join(path.read_text(encoding="utf-8") for path in results.glob("*.md"))
    commands = re.findall(r'"command": "(.*)"', written)
    commands += re.findall(r"`(python -m .*?)`", tables)
    assert len(commands) > 40
    for words in map(str.split, commands):
        assert _flags_in(words) <= flags[words[2]], words


def test_every_command_of_the_readme_is_run_or_has_a_reason_not_to_be():
    shown = {_key(words) for words in _commands(ROOT / "README.md")}
    run = {*QUICK, *SLOW}
    assert run <= shown
    left = shown - run
    assert all(key.startswith(tuple(NOT_RUN)) for key in left), left
    assert all(any(key.startswith(known) for key in left) for known in NOT_RUN)


def _run(key, small, directory):
    """Runs a command of the README: what it prints."""
    module, *words = key.split()
    if module == "tensorboard":
        module = "tensorboard.main"
    result = subprocess.run(
        [sys.executable, "-m", module, *words, *small.split()],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{key}: {result.stderr}"
    return result.stdout


@pytest.mark.parametrize("key", QUICK)
def test_commands_that_tell_run(key, tmp_path):
    said = _run(key, QUICK[key], tmp_path)
    assert ("reproduce" in key) == said.splitlines()[-1].startswith("next: ")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shown")
    (directory / "results").mkdir()
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("key", SLOW)
def test_commands_that_compute_run(key, place):
    if "train_step" in key:
        pytest.importorskip("torch")
    assert _run(key, SLOW[key], place)


def test_the_server_is_started_as_the_export_suggests():
    shown = [words for words in _commands(ROOT / "README.md") if words[0] == "docker"]
    # In a process of its own: programs define their flags when they are imported.
    code = "from pathlib import Path; from export import saved_model"
    code += "; print(saved_model._docker(Path('$PWD/models/seatbelt')))"
    suggested = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown == [shlex.split(suggested.stdout)]


@pytest.mark.parametrize(("flag", "status"), [("--help", 0), ("--output=there", 2)])
def test_the_builder_of_the_reference_takes_no_flag_for_a_directory(flag, status, tmp_path):
    command = [sys.executable, ROOT / "docs" / "build_reference.py", flag]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == status
    assert "python docs/build_reference.py" in result.stdout + result.stderr
    assert not list(tmp_path.iterdir())
