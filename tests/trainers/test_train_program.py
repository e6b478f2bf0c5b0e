"""`python -m trainers.train` as its users type it."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest
import tfds_files
from PIL import Image
from programs import SMALL, SMALLEST, assert_refused, run_program

from seatbelt_tf import runs
from seatbelt_tf.defences import settings
from trainers import training

ROOT = pathlib.Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"


def test_trains_attacks_and_leaves_a_run_directory(trained):
    directory, result = trained
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "step 20/20" in result.stdout
    assert "images/s" in result.stdout
    run = directory / "run"
    config = json.loads((run / "config.json").read_text())
    assert config["model"]["latent_dims"] == [4, 3]
    assert config["training"]["steps"] == 20
    assert (run / "metrics.csv").read_text().startswith("step,loss,elbo,")
    assert (run / "model.keras").is_file()
    assert list((run / "events").iterdir())
    assert json.loads((run / "evaluation" / "test.json").read_text())["elbo"] < 0
    assert {path.name for path in (run / "figures").iterdir()} == {
        "latent_attack.png",
        "prior_samples.png",
        "reconstructions.png",
        "training_curves.png",
        "traversals.png",
    }


def test_a_finished_run_is_not_touched_by_another_command_line(trained):
    directory, run = trained.directory, trained.directory / "run"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    again = run_program("train", *SMALL, directory=directory, without_tensorflow=True)
    assert_refused(again, "this run is finished")
    for flag, started in (
        ("--beta=2", "6.0"),
        ("--layers=3", "Expected 2,"),
        ("--epochs=2", "as "),
    ):
        other = run_program(
            "train", "--resume", "--run=run", flag, directory=directory, without_tensorflow=True
        )
        assert_refused(other, started, "run was started with")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_resuming_a_finished_run_draws_it_again_and_keeps_what_was_found_of_it(trained, tmp_path):
    shutil.copytree(trained.directory / "run", tmp_path / "run")
    before = runs.Run(tmp_path / "run").model_digest()
    (tmp_path / "run" / "figures" / "traversals.png").unlink()
    again = run_program("train", "--resume", "--run=run", directory=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "run" / "figures" / "traversals.png").is_file()
    run = runs.Run(tmp_path / "run")
    assert run.model_digest() == before
    # A damaged one is no finished run's and would be written again.
    assert training._is_kept(run)
    run.model_file.write_bytes(run.model_file.read_bytes()[:-100])
    assert not training._is_kept(run)


def test_unreadable_images_overwrite_nothing(tmp_path):
    run = runs.Run(tmp_path / "run")
    run.create(SMALLEST)
    run.model_file.write_text("trained")
    directory = tfds_files.prepare(
        tmp_path, "cifar10", {"train": tfds_files.random_digits(40), "test": []}
    )
    path = directory / "cifar10-train.tfrecord-00001-of-00002"
    path.write_bytes(path.read_bytes()[:-100])
    options = "--dataset=cifar10", "--data_dir=.", "--overwrite"
    result = run_program("train", *SMALL, *options, directory=tmp_path)
    assert_refused(result, "Expected readable records of cifar10")
    assert run.model_file.read_text() == "trained"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared CIFAR-10 directory")
@pytest.mark.slow
def test_trains_on_real_photographs(tmp_path):
    options = ("--dataset=cifar10", f"--data_dir={SHARED}", "--layers=2", "--mixed_precision")
    result = run_program(
        "train", *options, "--batch_size=64", "--steps=40", "--run=run", directory=tmp_path
    )
    assert result.returncode == 0, result.stderr


BAD = {
    "--beta=-1": "beta",
    "--beta=nan": "beta",
    "--latent_dims=": "latent_dims",
    "--latent_dims=4,0": "latent_dims",
    "--latent_dims=4,x": "latent_dims",
    "--latent_dims=1,1,1,1,1,1": "latent_dims",
    "--layers=0": "layers",
    "--layers=6": "layers",
    "--steps=0": "steps",
    "--epochs=-1": "epochs",
    "--batch_size=0": "batch_size",
    "--batch_size=99999999": "batch_size",
    "--learning_rate=0": "learning_rate",
    "--free_bits=-1": "free_bits",
    "--likelihood_scale=0": "likelihood_scale",
    "--seed=-1": "seed",
    "--image_size=48": "image_size",
    "--dataset=sprite": "Did you mean 'sprites'",
    "--dataset=celeb_a --data_dir=.": "tfds.load('celeb_a'",
    "--data_dir=nowhere": "data_dir",
    "--penalty=tcc": "penalty",
    "--preset=papers": "preset",
    "--layers=2 --latent_dims=4,3": "both",
    "--steps=2 --epochs=2": "both",
    "--resume --overwrite": "both",
    "--resume --run=nowhere": "no config.json",
    "--run=file/run": "written to",
    f"--run={'x' * 300}": "written to ([Errno 36] File name too long",
    "--run=.": "new, empty",
    "--run=": "a directory's name, or no --run",
    "--defence=adversary": "adversarial",
    "--defence_radius=3": "--defence=adversarial or smooth_encoder",
    "--defence=input_noise --defence_radius=3": "defence_radius",
    "--defence=adversarial --defence_weight=1.5": "from 0 to 1",
    "--defence=pca --latent_dims=1025 --image_size=32": "no more than 1024",
    "--unknown": "unknown",
    "stray": "stray",
    "--steps=many": "flag --steps=many: expected a whole number",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_line_and_status_2_without_tensorflow(arguments, tmp_path):
    (tmp_path / "file").write_text("")
    result = run_program(
        "train", *arguments.split(" "), directory=tmp_path, without_tensorflow=True
    )
    assert_refused(result, BAD[arguments])
    assert result.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {"file", "fake"}


@pytest.mark.parametrize("training", [None, {"steps": 20}])
def test_a_run_from_elsewhere_that_does_not_say_how_to_train_is_not_resumed(training, tmp_path):
    said = {} if training is None else {"training": training}
    runs.Run(tmp_path / "run").create({**SMALLEST, **said})
    resume = ("--resume", "--run=run")
    result = run_program("train", *resume, directory=tmp_path, without_tensorflow=True)
    assert_refused(result, "Invalid value for training", "a JSON object with batch_size")


DEFENCES = [
    "adversarial --defence_attack=target",
    "smooth_encoder --defence_radius=1",
    "lipschitz,learned_scale",
    "mcmc --defence_chain_steps=1 --defence_leapfrog_steps=1",
    "input_noise,variance_floor",
    "pca",
]


def _of_flags(function, *arguments, given=""):
    """What a function of `train_flags` returns for a command line."""
    script = (
        "import sys; from trainers import train, train_flags; train.FLAGS(sys.argv); "
        "import json; from seatbelt_tf import runs; "
        f"print(json.dumps(train_flags.{function}({given})))"
    )
    command = [sys.executable, "-c", script, *arguments]
    return json.loads(subprocess.check_output(command, cwd=ROOT, text=True).splitlines()[-1])


def test_a_relative_data_directory_is_kept_as_it_is_found_from_elsewhere(tmp_path):
    config = _of_flags("configuration", "--data_dir=docs")
    assert config["data"]["data_dir"] == str(ROOT / "docs")
    runs.Run(tmp_path).create(config)
    run = f"runs.Run({str(tmp_path)!r})"
    for given in ("docs", "./docs", str(ROOT / "docs")):
        flags = ("--resume", f"--data_dir={given}", "--image_size=64")
        assert _of_flags("resumed_configuration", *flags, given=run)["data"] == config["data"]
    flags = ("--resume", "--data_dir=tests")
    resumed = _of_flags("resumed_configuration", *flags, given=run)
    assert resumed["data"]["data_dir"] == str(ROOT / "tests")


def test_flags_that_are_repeated_are_judged_by_the_runs_own_dataset(tmp_path):
    (tmp_path / "photos").mkdir()
    for brightness in range(40):
        image = Image.new("L", (8, 8), brightness)
        image.save(tmp_path / "photos" / f"{brightness}.png")
    (tmp_path / "photos" / "0.png").write_bytes(b"broken")
    own = (
        f"--dataset=folder:{tmp_path / 'photos'}",
        f"--data_dir={tmp_path}",
        "--max_unreadable=1",
        "--batch_size=8",
    )
    runs.Run(tmp_path / "run").create(_of_flags("configuration", *own, "--image_size=128"))
    for flags, message in (
        ("--image_size=64", "Expected 128, as run was started with"),
        ("--image_size=128 --beta=7", "Expected 6.0, as run was started with"),
        ("--dataset=sprites", f"'folder:{tmp_path / 'photos'}', as run was started with"),
    ):
        given = ("--resume", "--run=run", *flags.split())
        result = run_program("train", *given, directory=tmp_path, without_tensorflow=True)
        assert_refused(result, message)


def test_what_no_configuration_has_is_repeated_by_the_command_that_goes_on():
    beside = ["--checkpoint_seconds=5.0", "--noreport", "--accumulate=2", "--data_dir=a b"]
    given = ("--run=x", "--overwrite", "--beta=2", *reversed(beside))
    assert _of_flags("given_beside_configuration", *given) == beside


@pytest.mark.parametrize(
    ("preset", "options", "dims", "beta"),
    [
        ("pca", "", [64], 1.0),
        ("pca", "--layers=2 --beta=3", [12, 6], 3.0),
        ("pca", "--latent_dims=5", [5], 1.0),
        ("adversarial", "", [48, 24, 12, 6], 1.0),
    ],
)
def test_a_robust_preset_is_a_defence_unless_flags_say_otherwise(preset, options, dims, beta):
    config = _of_flags("configuration", f"--preset=robust_{preset}", *options.split())
    assert config["model"]["defences"] == {preset: settings.DEFAULTS[preset]}
    assert (config["model"]["latent_dims"], config["model"]["beta"]) == (dims, beta)
    assert config["training"]["preset"] == f"robust_{preset}"
    assert config["training"]["batch_size"] == 64


def test_every_defence_is_among_those_that_the_program_is_tried_with():
    tried = {name for defence in DEFENCES for name in defence.split()[0].split(",")}
    assert tried == set(settings.DEFAULTS)


@pytest.mark.slow
@pytest.mark.parametrize("defence", DEFENCES)
def test_every_defence_is_trained_by_the_program_and_goes_on_where_it_stopped(defence, tmp_path):
    arguments = (*SMALL, *f"--defence={defence}".split())
    result = run_program("train", *arguments, directory=tmp_path)
    assert result.returncode == 0, result.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert set(config["model"]["defences"]) == set(defence.split()[0].split(","))
    # Where the data lie is no setting: another machine may have them elsewhere.
    elsewhere = f"--data_dir={tmp_path}"
    again = run_program("train", *arguments, elsewhere, "--resume", directory=tmp_path)
    assert again.returncode == 0, again.stderr
    other = run_program("train", *SMALL, "--resume", "--defence=input_noise", directory=tmp_path)
    assert (other.returncode, "defence" in other.stderr) == (2, True)


def test_help_shows_defaults(helps):
    assert "--latent_dims" in helps["train"]
    assert "(default: 'sprites')" in helps["train"]
