"""Run directories: safe files and clear errors."""

import io
import math
import shutil
import zipfile

import h5py
import hostile
import numpy as np
import pytest
from programs import SMALLEST

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
    run.create(SMALLEST)
    run.append_metrics({"step": 1})
    (run.path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="--overwrite"):
        run.create(SMALLEST)
    run.create({"model": {"beta": 2}}, overwrite=True)
    assert {path.name for path in run.path.iterdir()} == {"config.json", "notes.txt"}


@pytest.mark.parametrize("step", ["rmtree", "write_json"])
def test_a_run_that_was_being_overwritten_can_be_overwritten(step, tmp_path, monkeypatch):
    run = runs.Run(tmp_path / "run")
    run.create(SMALLEST)
    run.attacks.mkdir()
    (run.path / "notes.txt").write_text("mine")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patches:
        patches.setattr(runs.shutil if step == "rmtree" else runs, step, stop)
        with pytest.raises(KeyboardInterrupt):
            run.create(SMALLEST, overwrite=True)
    run.create({"model": {"beta": 2}}, overwrite=True)
    assert {path.name for path in run.path.iterdir()} == {"config.json", "notes.txt"}


def test_foreign_directories_are_never_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(ValueError, match="new, empty or holds a run"):
        runs.Run(tmp_path).create({}, overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("text", ['{"architectures": ["BertModel"]}', "[]", "{"])
def test_a_directory_with_another_programs_configuration_is_foreign(text, tmp_path):
    run = runs.Run(tmp_path)
    (tmp_path / "figures").mkdir()
    run.config_file.write_text(text)
    (tmp_path / "figures" / "thesis.pdf").write_text("…")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="new, empty or holds a run"):
            run.create(SMALLEST, overwrite)
    assert run.config_file.read_text() == text
    assert (tmp_path / "figures" / "thesis.pdf").exists()


def test_a_run_whose_configuration_is_damaged_is_replaced_when_told_to(tmp_path):
    run = runs.Run(tmp_path)
    run.create(SMALLEST)
    run.model_file.touch()
    run.config_file.write_text("{")
    with pytest.raises(ValueError, match="a new directory"):
        run.create(SMALLEST)
    run.create(SMALLEST, overwrite=True)
    assert run.config()["model"] == SMALLEST["model"]


def test_a_model_that_is_replaced_while_it_is_in_use_is_noticed(tmp_path):
    run = runs.Run(tmp_path)
    run.create(SMALLEST)
    run.save_model(run.new_model())
    digest = run.model_digest()
    run.load_model()
    assert run.model_digest() == digest
    runs.Run(tmp_path).save_model(run.new_model())
    with pytest.raises(ValueError, match="replaced meanwhile"):
        run.model_digest()
    run.load_model()
    assert run.model_digest() != digest


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 99}', "{}", '{"format": 1}', '{"format": 1, "model": {}}']
)
def test_damaged_configurations_are_named(text, tmp_path):
    run = runs.Run(tmp_path)
    with pytest.raises(ValueError, match=r"no config\.json"):
        run.config()
    run.config_file.write_text(text)
    with pytest.raises(ValueError, match=r"readable config\.json"):
        run.config()


def test_an_untrained_run_has_no_model_to_load(tmp_path):
    run = runs.Run(tmp_path)
    run.check_new()
    run.create(SMALLEST)
    with pytest.raises(ValueError, match="--resume"):
        run.load_model()
    with pytest.raises(ValueError, match="--resume"):
        run.check_trained()
    with pytest.raises(ValueError, match="a new directory"):
        run.check_new()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a": NaN}', "finite"),
        ('{"a": 1e999}', "finite"),
        ("[" * 100_000, "nested"),
        (f'"{"x" * 2**20}"', "larger"),
        ('{"a": 1', "delimiter"),
    ],
)
def test_json_is_read_strictly(text, message, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.json.*{message}"):
        runs.read_json(tmp_path / "a.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with a model, and that model."""
    run = runs.Run(tmp_path_factory.mktemp("finished") / "run")
    run.create({**SMALLEST, "model": {**SMALLEST["model"], "latent_dims": [3], "seed": 5}})
    model = run.new_model()
    model.encoder.layers[0].bias.assign_add(np.full(32, 0.25, np.float32))
    model.compile(optimizer="adam")
    model.optimizer.build(model.trainable_variables)
    run.save_model(model)
    return run, model


def test_a_model_is_rebuilt_from_the_configuration_and_its_tensors(finished):
    run, model = finished
    loaded = run.load_model()
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert loaded.get_config()["latent_dims"] == (3,)


def _edited(change):
    def edit(data):
        file = io.BytesIO(data)
        with h5py.File(file, "r+") as tensors:
            change(tensors)
        return file.getvalue()

    return edit


_KERNEL = "encoder/layers/conv2d/vars/0"


def _replace(file, **options):
    del file[_KERNEL]
    file.create_dataset(_KERNEL, **options)


def _link(file, link):
    del file[_KERNEL]
    file[_KERNEL] = link


HOSTILE = {
    "other shape": _edited(lambda file: _replace(file, data=np.zeros((4, 4, 1, 31), np.float32))),
    "other type": _edited(lambda file: _replace(file, data=np.zeros((4, 4, 1, 32)))),
    "missing": _edited(lambda file: file.__delitem__(_KERNEL)),
    "compressed": _edited(
        lambda file: _replace(file, shape=(2**20, 2**20), dtype="f4", compression="gzip")
    ),
    "huge": _edited(lambda file: _replace(file, shape=(2**20, 2**20), dtype="f4")),
    "elsewhere": _edited(
        lambda file: _replace(file, shape=(512,), dtype="f4", external=[("/etc/passwd", 0, 2048)])
    ),
    "link out": _edited(lambda file: _link(file, h5py.ExternalLink("/etc/passwd", "/x"))),
    "link": _edited(lambda file: _link(file, h5py.SoftLink("/encoder/layers/conv2d/vars/1"))),
    "circle": _edited(lambda file: file.__setitem__("encoder/again", file["encoder"])),
    "no array": _edited(lambda file: file.__setitem__("encoder/type", np.dtype("f4"))),
    "truncated": lambda data: data[: len(data) // 2],
    "no HDF5": lambda data: b"\x80\x04",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_weights_that_are_not_the_models_are_refused(kind, finished, tmp_path):
    run = runs.Run(tmp_path / "run")
    shutil.copytree(finished[0].path, run.path)
    hostile.rewrite_keras(run.model_file, HOSTILE[kind])
    with pytest.raises(ValueError, match=r"the weights of config\.json's model"):
        run.load_model()


def test_what_a_keras_file_says_of_its_model_is_not_read(finished, tmp_path):
    run = runs.Run(tmp_path / "run")
    shutil.copytree(finished[0].path, run.path)
    with zipfile.ZipFile(run.model_file) as archive:
        weights = archive.read("model.weights.h5")
    with zipfile.ZipFile(run.model_file, "w") as archive:
        archive.writestr("config.json", '{"module": "os", "class_name": "system", "config": {}}')
        archive.writestr("model.weights.h5", weights)
    assert run.load_model().latent_dims == (3,)
    run.model_file.write_bytes(run.model_file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"the weights of config\.json's model"):
        run.load_model()
