"""What TensorBoard finds in a run's events, read by TensorBoard's own code."""

import io
import json
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing import (
    data_provider,
    event_accumulator,
    plugin_event_multiplexer,
)
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from seatbelt_tf import runs
from trainers import events, splits


@pytest.fixture(scope="module")
def run(trained):
    return runs.Run(trained.directory / "run")


@pytest.fixture(scope="module")
def found(run):
    """Everything in the run's event files."""
    limits = dict.fromkeys((event_accumulator.TENSORS, event_accumulator.IMAGES), 0)
    accumulator = event_accumulator.EventAccumulator(str(run.events), limits)
    return accumulator.Reload()


def _tensor(found, tag):
    """The last tensor of a tag."""
    event = found.Tensors(tag)[-1]
    return event.step, tf.make_ndarray(event.tensor_proto)


def _image(found, tag):
    """The last image of a tag: (H, W) or (H, W, 3) levels."""
    _, (_width, _height, png) = _tensor(found, tag)
    return np.asarray(Image.open(io.BytesIO(png)))


def _validation_images(run):
    batches = splits.batches(run.config()["data"], "validation", batch_size=splits.BATCH)
    return next(iter(batches)).numpy()


def test_scalars_are_those_of_the_metrics_and_of_the_test(run, found):
    for name, column in run.read_metrics().items():
        if name != "step" and np.isfinite(column).all():
            values = [tf.make_ndarray(event.tensor_proto) for event in found.Tensors(name)]
            np.testing.assert_allclose(values, column, rtol=1e-6)
    scores = json.loads((run.evaluation / "test.json").read_text())
    for name, value in scores.items():
        assert _tensor(found, f"test/{name}")[1] == pytest.approx(value, rel=1e-6)


def test_reconstructions_lie_below_the_validation_images(run, found):
    images = _validation_images(run)[: events.SHOWN]
    sheet = _image(found, "reconstructions").astype(float) / 127.5 - 1
    size = images.shape[1]
    assert sheet.shape == (2 * size, events.SHOWN * size)
    rows = np.stack([images, run.load_model()(images).numpy()])[..., 0]
    for row, of_row in enumerate(rows):
        for column, image in enumerate(of_row):
            tile = sheet[row * size : (row + 1) * size, column * size : (column + 1) * size]
            # A level is 1/127.5.
            np.testing.assert_allclose(tile, np.clip(image, -1, 1), atol=0.01)


def test_traversals_name_their_units(found):
    _, text = _tensor(found, "traversed units")
    units = text.item().decode().split(", ")
    assert all(unit.startswith(("z1[", "z2[")) for unit in units)
    assert _image(found, "traversals").shape == (len(units) * 64, len(events.PLACES) * 64)


def test_of_a_single_image_no_traversals_are_shown(run, tmp_path):
    model = run.load_model()
    writer = events.Events(tmp_path)
    writer.views(1, model, _validation_images(run)[:1])
    found = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert "reconstructions" in found.Tags()["tensors"]
    assert "traversals" not in found.Tags()["tensors"]


def test_histograms_are_of_the_posteriors_widths_by_layer(run, found):
    images = _validation_images(run)[: events.MEASURED]
    for layer, (_, stddev) in enumerate(run.load_model().encode(images), 1):
        step, buckets = _tensor(found, f"stddev_norm/layer_{layer}")
        norms = np.sqrt(np.sum(np.square(stddev, dtype=np.float64), axis=1))
        assert step == run.config()["training"]["steps"]
        assert buckets[:, 2].sum() == len(norms)
        np.testing.assert_allclose(
            [buckets[0, 0], buckets[-1, 1]], [norms.min(), norms.max()], rtol=1e-4
        )


def test_the_figures_are_there_at_the_end(run, found):
    for path in run.figures.glob("*.png"):
        drawn = np.asarray(Image.open(path).convert("RGB"))
        np.testing.assert_array_equal(_image(found, f"figures/{path.stem}"), drawn)
    assert (run.figures / "latent_attack.png").exists()


CONFIG = {
    "model": {"latent_dims": [4, 3], "beta": 6.0},
    "data": {"name": "sprites"},
    "training": {"steps": 20},
}


def _groups(directory):
    """What the HPARAMS page has of a directory of runs: names of metrics, and the runs."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(directory)).Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(directory))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    metadata = context.hparams_metadata(RequestContext(), "")
    experiment = context.experiment_from_metadata(RequestContext(), "", True, metadata, [])
    request = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_RUNNING], slice_size=10
    )
    groups = list_session_groups.Handler(RequestContext(), context, "", request).run()
    return {metric.name.tag for metric in experiment.metric_infos}, groups.session_groups


def _write_battery(run, config, area, **options):
    """Events of a battery that found an area and no pair whose gap was half closed."""
    battery = types.SimpleNamespace(
        images=np.zeros((2, 1)),
        weights=np.ones(3),
        options={"objective": "latent_kl", "layers": "all", "ancestors": "mean", **options},
    )
    checks = [types.SimpleNamespace(name=name, fired=name == "one") for name in ("one", "two")]
    summary = {"area_above_blending": {"mean": area}, "closed_share": {"mean": 0.5}}
    panel = run.path / "panel.png"
    Image.new("RGB", (3, 2), (10, 20, 30)).save(panel)
    events.write_battery(run, config, battery, summary, checks, panel)


def test_runs_are_compared_by_their_robustness_which_is_written_once(tmp_path):
    areas = {1.0: 0.25, 6.0: 0.125}
    for beta, area in areas.items():
        run = runs.Run(tmp_path / f"beta{beta}")
        config = {**CONFIG, "model": {**CONFIG["model"], "beta": beta}}
        shown = events.Events(run.events)
        shown.settings(config)
        shown.scalars(20, {"elbo": -beta})
        _write_battery(run, config, 0.9)
        _write_battery(run, config, area)
        found = event_accumulator.EventAccumulator(str(run.events)).Reload()
        assert len(list(run.events.iterdir())) == 2
        assert found.Tags()["tensors"].count("elbo") == 1
        tags = {tag for tag in found.Tags()["tensors"] if tag.startswith("robustness/")}
        names = ("area_above_blending", "closed_share", "checks_fired", "panel")
        assert tags == {f"robustness/latent_kl/{name}" for name in names}
        assert all(len(found.Tensors(tag)) == 1 for tag in tags)
        assert _tensor(found, "robustness/latent_kl/checks_fired")[1] == 1
        assert (_image(found, "robustness/latent_kl/panel") == [10, 20, 30]).all()
        panel = found.SummaryMetadata("robustness/latent_kl/panel")
        assert panel.summary_description == "2 pairs × 3 λ. Checks that fired: one."
    metrics, groups = _groups(tmp_path)
    assert "robustness/latent_kl/area_above_blending" in metrics
    assert {
        group.hparams["beta"].number_value: metric.value
        for group in groups
        for metric in group.metric_values
        if metric.name.tag == "robustness/latent_kl/area_above_blending"
    } == areas


def test_what_a_training_ended_with_is_there_once(tmp_path):
    run = runs.Run(tmp_path / "run")
    events.Events(run.events).scalars(20, {"elbo": -1.0})
    figure = tmp_path / "curves.png"
    Image.new("RGB", (3, 2), (10, 20, 30)).save(figure)
    for value in (-3.0, -2.0):
        events.write_test(run, CONFIG, {"elbo": value}, [figure])
    found = event_accumulator.EventAccumulator(str(run.events)).Reload()
    assert set(found.Tags()["tensors"]) == {"elbo", "test/elbo", "figures/curves"}
    assert len(found.Tensors("test/elbo")) == len(found.Tensors("figures/curves")) == 1
    assert _tensor(found, "test/elbo") == (20, -2.0)


def test_batteries_that_do_not_compare_are_kept_apart(tmp_path):
    run = runs.Run(tmp_path / "run")
    chain = {**CONFIG, "model": {**CONFIG["model"], "defences": {"mcmc": {}}}}
    run.path.mkdir()
    _write_battery(run, CONFIG, 0.1)
    _write_battery(run, CONFIG, 0.2, layers="top")
    _write_battery(run, CONFIG, 0.3, layers=(0, 1), ancestors="sample")
    # What is usual depends on the model.
    _write_battery(run, chain, 0.4, objective="output", ancestors="sample")
    found = event_accumulator.EventAccumulator(str(run.events)).Reload()
    assert {tag.split("/")[1] for tag in found.Tags()["tensors"]} == {
        "latent_kl",
        "latent_kl-top",
        "latent_kl-0_1-sample",
        "output",
    }


def test_runs_are_compared_by_their_settings(run, tmp_path):
    other = run.config()
    other["model"] |= {"beta": 1.0, "defences": {"input_noise": {"noise": 0.1}}}
    shown = events.Events(tmp_path / "other" / "events")
    shown.settings(other)
    shown.scalars(20, {"elbo": -3.0})
    (tmp_path / "this").symlink_to(run.path)

    metrics, groups = _groups(tmp_path)
    assert "elbo" in metrics
    assert {group.hparams["beta"].number_value for group in groups} == {6.0, 1.0}
