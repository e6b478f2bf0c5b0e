"""From a trained run to a version that a server may load."""

import pathlib

from export import (
    cpp_loader,
    image_bytes,
    model_card,
    operations,
    publish,
    server_files,
    signatures,
    warmup,
)
from export.errors import ServingError
from seatbelt_tf import checks, runs


def export_run(run, model_dir, shown=iter):
    """Writes the next version of a run's model.

    It is published only after its operations were checked and the C++ loader that TF Serving uses
    has answered every warm-up request.

    Args:
        run: a `runs.Run`.
        model_dir: directory of the versions; its name is the model's for the server.
        shown: what the warm-up requests are passed through while they are tried, to show progress.

    Returns:
        The version's directory, a Path.

    Raises:
        ValueError: the run has no trained model, the place cannot be written to, or the model
            has operations that are not served.
    """
    run.check_trained()
    publish.check_place(model_dir)
    model_dir = pathlib.Path(model_dir)
    recipe = image_bytes.recipe_of(run.config())
    # As it was attacked and evaluated, whatever it was trained in.
    served = signatures.of_model(run.load_model(dtype="float32"), recipe)
    warmup_requests = warmup.requests(served, recipe)
    name = model_dir.absolute().name

    def build(directory):
        signatures.write(served, directory)
        operations.check(directory)
        _try(directory, shown(warmup_requests))
        (directory / "assets.extra").mkdir()
        if warmup.is_possible():
            warmup.write(directory, name, warmup_requests)
        runs.write_json(directory / "assets.extra" / "preprocessing.json", describe(recipe))
        card = directory / "assets.extra" / "MODEL_CARD.md"
        card.write_text(model_card.text(run, recipe), encoding="utf-8")

    version = publish.publish(model_dir, build)
    server_files.write(model_dir, name)
    return version


def describe(recipe):
    """The preprocessing as JSON-compatible data: the recipe, and what it does in words."""
    return {**recipe, "steps": image_bytes.describe(recipe)}


def _try(directory, requests):
    try:
        with cpp_loader.Loader(directory) as loader:
            for name, inputs in requests:
                loader.predict(name, inputs)
    except (ServingError, cpp_loader.ProcessDiedError) as error:
        raise checks.invalid("run", "a model that TF Serving's loader can run", error) from error
