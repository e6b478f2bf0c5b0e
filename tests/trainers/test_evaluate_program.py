"""`python -m trainers.evaluate` as its users type it."""

import base64
import csv
import html.parser
import io
import json
import re
import shutil

import pytest
from PIL import Image
from programs import assert_refused, run_program, suggested

HOSTILE = '"><img src=x onerror=alert(1)>'
SMALL = ("--pairs=2", "--weights=3", "--max_evaluations=10", "--images=40")


class Page(html.parser.HTMLParser):
    """The tags with their attributes, and the text, of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def _files(directory):
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def test_a_run_becomes_one_page_and_nothing_is_computed_twice(trained, tmp_path):
    run = tmp_path / HOSTILE
    shutil.copytree(
        trained.directory / "run", run, ignore=shutil.ignore_patterns("attacks", "checkpoints")
    )
    result = run_program("evaluate", f"--run={run}", *SMALL, directory=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for part in ("clean quality", "noise", "overlap", "latent_kl", "output: checks"):
        assert re.search(rf"^{part} (\d+)/\1  .*took \d+:\d\d", result.stdout, re.MULTILINE)
    report = json.loads((run / "evaluation" / "report.json").read_text())
    titles = [section["title"] for section in report["sections"]]
    assert titles[:4] == ["Clean quality", "Under attack", "Attack: latent_kl", "Attack: output"]
    # Sprites have factors but no classes.
    assert "Disentanglement" in titles
    assert "Downstream classifiers" not in titles
    rows = {row["name"]: row for section in report["sections"] for row in section["rows"]}
    assert {"elbo", "area_above_blending", "output_target", "noise_0.5", "mig"} <= set(rows)
    assert all(row["meaning"] for row in rows.values())
    with (run / "evaluation" / "report.csv").open() as file:
        written = {
            (row["section"], row["name"]): float(row["mean"]) for row in csv.DictReader(file)
        }
    assert written["Clean quality", "elbo"] == rows["elbo"]["mean"]
    markdown = (run / "evaluation" / "report.md").read_text()
    assert "| elbo |" in markdown
    for section in report["sections"]:
        for check in section["diagnostics"]:
            verdict = "FIRED" if check["fired"] else "ok"
            assert re.search(rf"^\| {check['name']} \| .* \| {verdict} \|$", markdown, re.MULTILINE)
    assert f"| dataset | {report['model']['dataset']} |" in markdown
    assert "| versions | " in markdown
    assert "<img" not in markdown
    _check_page((run / "evaluation" / "report.html").read_text(encoding="utf-8"))
    model_dir = f"--model_dir=models/{HOSTILE}"
    assert suggested(result) == ["export.saved_model", f"--run={run}", model_dir]
    # For the model card of an export.
    assert len(list(run.glob("attacks/*/summary.json"))) == 2

    arrays = {path: time for path, time in _files(run).items() if path.suffix == ".npz"}
    again = run_program("evaluate", f"--run={run}", *SMALL, directory=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "took" not in again.stdout
    # For TensorBoard, those of the first time replaced.
    shown = [path.name.split(".attack_")[-1] for path in run.glob("events/*.attack_*")]
    assert sorted(shown) == ["latent_kl.v2", "output.v2"]
    assert arrays == {path: time for path, time in _files(run).items() if path.suffix == ".npz"}


def _check_page(text):
    page = Page(text)
    assert HOSTILE in page.text
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "form", "a", "base"}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "url(" not in text
    assert "@import" not in text
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 8
    for attributes in images:
        assert attributes["alt"]
        kind, data = attributes["src"].split(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).format == "PNG"


BAD = {
    "": "--run=",
    "--run=nowhere": "no config.json",
    "--run=untrained": "no model.keras",
    "--run=run --pairs=0": "pairs",
    "--run=run --weights=-1": "weights",
    "--run=run --images=0": "images",
    "--run=run --images=1": "an integer of at least 2",
    "--run=run --attacked=0": "attacked",
    "--run=run --max_evaluations=x": "max_evaluations",
    "--run=run --seed=-1": "seed",
    "--run=run --data_dir=nowhere": "data_dir",
    "--run=run --objective=": "objective",
    "--run=run --objective=latent_k": "did you mean 'latent_kl'",
    "--run=run extra": "extra",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_line_and_status_2_without_tensorflow(arguments, trained, tmp_path):
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    shutil.copy(trained.directory / "run" / "config.json", untrained)
    (tmp_path / "run").symlink_to(trained.directory / "run")
    before = _files(trained.directory)
    result = run_program(
        "evaluate", *arguments.split(), directory=tmp_path, without_tensorflow=True
    )
    assert_refused(result, BAD[arguments])
    assert _files(trained.directory) == before
    assert [path.name for path in untrained.iterdir()] == ["config.json"]
