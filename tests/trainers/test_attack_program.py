"""`python -m trainers.attack` as its users type it."""

import csv
import json
import math
import types

import numpy as np
import pytest
from programs import assert_refused, run_program, suggested

from seatbelt_tf import figures, runs
from seatbelt_tf.attacks import diagnostics
from trainers import batteries

SMALL = ("--run=run", "--pairs=2", "--weights=3", "--max_evaluations=3")


def test_attacks_a_run_stores_every_attack_and_does_none_twice(trained):
    directory = trained.directory
    result = run_program("attack", *SMALL, directory=directory)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert suggested(result) == ["trainers.evaluate", "--run=run"]
    (battery,) = (directory / "run" / "attacks").iterdir()
    with (battery / "records.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["pair"], float(row["weight"])) for row in rows] == [
        (pair, weight) for pair in "01" for weight in (2**-20, 1.0, 2**20)
    ]
    assert {"loss", "divergence", "closed_share", "floor", "ceiling", "status"} <= set(rows[0])
    with np.load(battery / "part-0000.npz") as part:
        assert part["adversarial"].shape == (6, 64, 64, 1)
    summary = json.loads((battery / "summary.json").read_text())
    assert summary["attacks"] == 6
    relative = summary["relative_loss"]
    assert relative["lower"] <= relative["mean"] <= relative["upper"]
    # One of the two pairs has no gap: a single number has no interval.
    assert (summary["pairs"], summary["pairs_with_gap"]) == (2, 1)
    assert summary["area_above_blending"]["lower"] is None
    assert next(iter(summary)) == "area_above_blending"
    assert {check["name"] for check in summary["diagnostics"]} >= {
        "not_converged",
        "fresh_draws",
        "weaker_than_blending",
    }
    assert {path.name for path in battery.glob("*.png")} == {
        "closed_share.png",
        "distortion.png",
        "loss.png",
        "panel.png",
    }
    finished = (battery / "part-0000.npz").stat().st_mtime_ns
    records = (battery / "records.csv").read_bytes()
    again = run_program("attack", *SMALL, "--strict", directory=directory)
    # Three evaluations do less than mixing the target in, which --strict reports.
    assert again.returncode == 3, again.stderr
    assert "FIRED" in again.stdout
    assert suggested(again) == ["trainers.evaluate", "--run=run"]
    # For TensorBoard, those of the first time replaced.
    assert len(list((directory / "run" / "events").glob("*.attack_latent_kl.v2"))) == 1
    assert (battery / "part-0000.npz").stat().st_mtime_ns == finished
    assert (battery / "records.csv").read_bytes() == records


def test_a_check_that_found_no_number_is_written_as_one_that_fired(tmp_path, monkeypatch):
    for name in ("loss_curves", "battery_panel", "summarise"):
        monkeypatch.setattr(batteries, name, lambda *_: {})
    monkeypatch.setattr(figures, "save", lambda *_: None)
    attacks = types.SimpleNamespace(path=tmp_path, options={"objective": "latent_kl"})
    check = diagnostics.Diagnosis("not_deterministic", math.nan, 1e-4, True, "noise")
    batteries.write(attacks, {}, [check], None)
    (written,) = runs.read_json(tmp_path / "summary.json")["diagnostics"]
    assert (written["value"], written["fired"]) == (None, True)


def test_a_panel_draws_each_attack_once_and_what_did_nothing_only_alone():
    records = {
        "pair": np.repeat([0, 1, 2], 3),
        "distortion_norm": np.array([0.0, 4.0, 6.0, 0.0, 0.0, 9.0, 2.0, 3.0, 7.0]),
        "target_distance": np.full(9, 10.0),
        "closed_share": np.array([0.0, 0.5, 0.9, 0.0, 0.0, 1.0, 0.3, 0.2, 0.8]),
    }
    assert batteries.panel_rows(records) == [1, 2, 3, 6, 8]


BAD = {
    "": "--run=",
    "--run=nowhere": "no config.json",
    "--run=run --pairs=0": "pairs",
    "--run=run --weights=-1": "weights",
    "--run=run --layers=middle": "layers",
    "--run=run --layers=0,9": "numbers from 0",
    "--run=run --seed=-1": "seed",
    "--run=run --restarts=-1": "restarts",
    "--run=run --data_dir=nowhere": "an existing directory",
    "--run=run --objective=latent_k": "did you mean 'latent_kl'",
}


def test_all_objectives_are_asked_before_any_is_attacked(trained):
    arguments = "--run=run --objective=latent_w2,output --layers=top --pairs=1 --weights=1"
    result = run_program("attack", *arguments.split(), directory=trained.directory)
    assert_refused(result, "attacks the whole model")
    assert not list((trained.directory / "run" / "attacks").glob("latent_w2*/part*"))


def test_an_attack_whose_loss_is_negative_is_drawn_too():
    records = {"weight": np.array([1.0, 2.0]), "loss": np.array([-3.0, -2.0])}
    (axes,) = batteries.loss_curves({"output": records}).axes
    assert axes.get_yscale() == "linear"


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_line_and_status_2_without_tensorflow(arguments, trained):
    result = run_program(
        "attack", *arguments.split(), directory=trained.directory, without_tensorflow=True
    )
    assert_refused(result, BAD[arguments])
