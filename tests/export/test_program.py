"""`python -m export.saved_model` as its users type it, and what it leaves beside the model."""

import json
import re
import shlex

import numpy as np
import pytest
from google.protobuf import text_format
from programs import SMALLEST, assert_refused, run_program
from serving import encode_image, make_run

from export import cpp_loader, exporter, image_bytes, model_card, warmup
from seatbelt_tf import datasets, runs


def test_exports_the_next_version_and_leaves_everything_else(exported):
    directory = exported.version.parent
    config = directory / "models.config"
    config.write_text(config.read_text() + "# mine\n")
    before = {path: path.stat().st_mtime_ns for path in exported.version.rglob("*")}
    result = run_program(
        "saved_model",
        f"--run={exported.run.path}",
        "--model_dir=seatbelt",
        directory=directory.parent,
        package="export",
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "seatbelt/2: " in result.stdout
    words = shlex.split(result.stdout.splitlines()[-1])
    assert words[:3] == ["next:", "docker", "run"]
    assert f"{directory}:/models/seatbelt" in words
    names = {path.name for path in directory.iterdir()}
    assert names == {"1", "2", "models.config", "batching.config"}
    assert config.read_text().endswith("# mine\n")
    assert {path: path.stat().st_mtime_ns for path in exported.version.rglob("*")} == before


BAD = {
    "": "--run=",
    "--run=nowhere --model_dir=m": "no config.json",
    "--run={run}": "--model_dir=",
    "--run={run} --model_dir={run}/config.json": "model_dir",
    "--run=untrained --model_dir=m": "--resume",
    "--run={run} --model_dir=m surplus": "surplus",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_line_and_status_2_without_tensorflow(arguments, exported, tmp_path):
    runs.Run(tmp_path / "untrained").create(SMALLEST)
    arguments, message = arguments.format(run=exported.run.path).split(), BAD[arguments]
    result = run_program(
        "saved_model", *arguments, directory=tmp_path, without_tensorflow=True, package="export"
    )
    assert_refused(result, message)
    assert not (tmp_path / "m").exists()


def test_warm_up_records_hold_a_good_request_for_each_signature_and_batch_size(exported, loader):
    logging = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    import tensorflow as tf

    answered = set()
    for record in tf.data.TFRecordDataset(str(exported.version / warmup.FILE)):
        log = logging.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        assert request.model_spec.name == "seatbelt"
        name = request.model_spec.signature_name
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        inputs = {k: list(v) if v.dtype == object else v for k, v in inputs.items()}
        outputs = loader.predict(name, inputs)
        (rows,) = {len(value) for value in (*inputs.values(), *outputs.values())}
        answered.add((name, rows))
    served = {name for name in loader.signatures if not name.startswith("__")}
    assert answered == {(name, rows) for name in served for rows in (1, 32)}


def test_without_the_messages_package_everything_else_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(warmup, "is_possible", lambda: False)
    run, _ = make_run(tmp_path / "run", latent_dims=(3,))
    version = exporter.export_run(run, tmp_path / "m")
    extra = {path.name for path in (version / "assets.extra").iterdir()}
    assert extra == {"MODEL_CARD.md", "preprocessing.json"}


def test_the_model_card_says_where_the_model_comes_from(tmp_path, exported):
    run, _ = make_run(tmp_path / "run")
    area = {"mean": 0.123456789, "lower": 0.1, "upper": 0.2}
    single = {"mean": 0.75, "lower": None, "upper": None}
    summary = {"attacks": 500, "mean_closed_share": 0.625, "attack_area": area, "loss": single}
    doubt = {"name": "not_converged", "fired": True}
    trust = {"name": "not_converged", "fired": False}
    for name, diagnostics in (
        ("latent_kl-all", [doubt]),
        ("latent_w2-all", [trust]),
        ("output-all", []),
    ):
        settings = {"origin": {"model": run.model_digest()}}
        runs.write_json(run.attacks / name / "battery.json", settings)
        runs.write_json(
            run.attacks / name / "summary.json", {**summary, "diagnostics": diagnostics}
        )
    earlier = run.attacks / "latent_kl-earlier"
    runs.write_json(earlier / "battery.json", {"origin": {"model": "another"}})
    runs.write_json(earlier / "summary.json", summary)
    card = model_card.text(run, image_bytes.recipe_of(run.config()))
    for fact in (
        "sprites",
        "Apache-2.0",
        "-1234.5",
        "[5, 4, 3]",
        "python -m trainers.train --steps=20",
    ):
        assert fact in card
    assert card.count("0.625") == 3
    assert card.count("mean 0.123457, lower 0.1, upper 0.2") == 3
    assert card.count("| mean 0.75 |") == 3
    assert card.count("Don't trust it: not_converged.") == 1
    assert card.count("None of 1 checks fired.") == 1
    assert card.count("No checks are recorded.") == 1
    assert run.model_digest() in card
    assert "earlier" not in card
    counted = f"train {datasets.info('sprites').splits['train']}"
    assert counted in card
    config = run.config()
    config["data"]["fingerprint"] = "another"
    runs.write_json(run.config_file, config)
    assert counted not in model_card.text(run, image_bytes.recipe_of(config))
    assert "None made" in (exported.version / "assets.extra" / "MODEL_CARD.md").read_text()
    for summary in ([], {"diagnostics": [{"name": "not_converged"}]}):
        runs.write_json(run.attacks / "output-all" / "summary.json", summary)
        with pytest.raises(ValueError, match=r"output-all.summary\.json"):
            model_card.text(run, image_bytes.recipe_of(run.config()))
    steps = json.loads((exported.version / "assets.extra" / "preprocessing.json").read_text())
    assert (steps["image_size"], steps["channels"], len(steps["steps"])) == (32, 1, 4)


def test_what_a_run_says_is_no_markup_in_the_card(tmp_path):
    hostile = "<img src=x>\n\n![](y)|"
    run = runs.Run(tmp_path / "<b> ![](run)")
    config = {
        "model": {**SMALLEST["model"], "penalty": hostile},
        "data": {**SMALLEST["data"], "name": hostile},
        "command": ["train", f"--run=``{hostile}"],
        "versions": {hostile: hostile},
    }
    # Not all of it is what `Run.config` would let pass.
    run.config = lambda: config
    run.path.mkdir()
    run.model_file.write_bytes(b"any")
    attack = run.attacks / "<i>"
    checks = [{"name": hostile, "fired": True}]
    runs.write_json(run.evaluation / "test.json", {hostile: hostile})
    runs.write_json(attack / "battery.json", {"origin": {"model": run.model_digest()}})
    runs.write_json(attack / "summary.json", {"x": {hostile: 1.0}, "diagnostics": checks})
    card = model_card.text(run, image_bytes.recipe_of(SMALLEST))
    (command,) = (line for line in card.splitlines() if line.startswith("Command: "))
    assert re.fullmatch("Command: ```[^`]+``[^`]+```", command)
    others = card.replace(command, "")
    assert others.count("&lt;img src=x&gt; ![]&#40;y)&#124;") == 8
    assert not re.search(r"<\w|\]\(", others)
    rows = [line for line in others.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {3}


def test_the_card_counts_the_images_that_the_run_had(tmp_path):
    for brightness in range(40):
        path = tmp_path / "images" / f"{brightness}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_image(np.full((32, 32), brightness, np.uint8)))
    path.write_bytes(b"broken")
    data = {"name": f"folder:{path.parent}", "data_dir": str(tmp_path), "max_unreadable": 1}
    info = datasets.info(data["name"], data["data_dir"], max_unreadable=1)
    data["fingerprint"] = info.fingerprint
    assert "train 33, validation 3, test 3" in model_card._data(data)


def test_server_files_name_the_model(exported):
    config_messages = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    directory = exported.version.parent
    text = (directory / "models.config").read_text()
    config = text_format.Parse(text, config_messages.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == ("seatbelt", "/models/seatbelt")
    assert "max_batch_size { value: 256 }" in (directory / "batching.config").read_text()


FAMILY = {
    "VAE, colour": {"image_shape": (32, 32, 3), "latent_dims": (4,), "beta": 1.0},
    "DLGM, chain": {"likelihood_from": "bottom", "inference": "chain"},
    "beta-VAE": {"latent_dims": (4,), "penalty": "kl", "kl_estimator": "sampled"},
    "MSS, analytic": {"tc_estimator": "mss", "dataset_size": 100, "kl_estimator": "analytic"},
    "bfloat16": {"dtype": "mixed_bfloat16"},
    "mcmc": {"defences": {"mcmc": {"chain_steps": 2, "leapfrog_steps": 2, "step_size": 0.1}}},
    "64 pixels": {"image_shape": (64, 64, 1), "latent_dims": (3, 2)},
}
FAST = 1


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(member, marks=[] if place < FAST else pytest.mark.slow)
        for place, member in enumerate(FAMILY)
    ],
)
def test_every_member_of_the_family_can_be_served(member, tmp_path):
    run, model = make_run(tmp_path / "run", **FAMILY[member])
    if member == "bfloat16":
        model = run.load_model(dtype="float32")
    images = np.random.default_rng(0).uniform(-1, 1, (2, *model.image_shape)).astype(np.float32)
    with cpp_loader.Loader(exporter.export_run(run, tmp_path / "m")) as loader:
        served = loader.predict("score", {"images": images, "seed": np.zeros((2, 2), np.int32)})
        rebuilt = loader.predict("reconstruct", {"images": images})["reconstruction"]
    np.testing.assert_allclose(rebuilt, model(images), atol=1e-5)
    expected = [model.elbo(image[None], seed=0).numpy()[0] for image in images]
    np.testing.assert_allclose(served["elbo"], expected, rtol=1e-5)
