"""Run directories: safe files and clear errors."""

import math

import pytest

from seatbelt_tf import runs


def test_an_interrupted_replacement_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    runs.write_json(path, {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        runs.write_json(path, {"x": math.nan})
    assert path.read_text() == '{\n  "x": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_metrics_are_cut_after_a_step_and_a_torn_last_row_is_dropped(tmp_path):
    run = runs.Run(tmp_path)
    for step in (10, 20, 30):
        run.append_metrics({"step": step, "elbo": -1.5 * step, "val_elbo": None})
    with run.metrics_file.open("a") as file:
        file.write("40,-6")
    assert run.read_metrics()["step"] == [10, 20, 30]
    run.truncate_metrics(20)
    assert run.metrics_file.read_text() == "step,elbo,val_elbo\n10,-15,\n20,-30,\n"
    run.append_metrics({"val_elbo": -1.0, "step": 30, "elbo": -2.0})
    assert run.metrics_file.read_text().endswith("\n30,-2.0,-1.0\n")
    run.truncate_metrics(0)
    run.append_metrics({"step": 5, "elbo": 1.0, "val_elbo": 2.0})
    assert run.read_metrics() == {"step": [5.0], "elbo": [1.0], "val_elbo": [2.0]}


def test_overwriting_replaces_a_runs_files_and_leaves_the_users(tmp_path):
    run = runs.Run(tmp_path / "run")
    run.create({"model": {}})
    run.append_metrics({"step": 1})
    (run.path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="--overwrite"):
        run.create({"model": {}})
    run.create({"model": {"beta": 2}}, overwrite=True)
    assert {path.name for path in run.path.iterdir()} == {"config.json", "notes.txt"}


def test_foreign_directories_are_never_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(ValueError, match="new, empty or holds a run"):
        runs.Run(tmp_path).create({}, overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', "{}"])
def test_damaged_configurations_are_named(text, tmp_path):
    run = runs.Run(tmp_path)
    with pytest.raises(ValueError, match=r"no config\.json"):
        run.config()
    run.config_file.write_text(text)
    with pytest.raises(ValueError, match=r"readable config\.json"):
        run.config()


def test_an_untrained_run_has_no_model_to_load(tmp_path):
    run = runs.Run(tmp_path)
    run.create({"model": {}})
    with pytest.raises(ValueError, match="--resume"):
        run.load_model()
