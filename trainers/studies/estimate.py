"""How long studies take, for plans only."""

import functools

from seatbelt_tf import datasets
from trainers.recipes import RECIPES

# Of one worker of two on two cores: images trained and evaluations of an attack a second (models of
# the comparison on sprites; a second worker all but doubles what is done).
IMAGES_PER_SECOND, EVALUATIONS_PER_SECOND = 700, 700
OTHER_MEASURE_SECONDS = {"clean": 15, "downstream": 150}
# Attacks through the trial's Markov chains take so many times as long (three models on sprites).
CHAIN_TIMES = 25
# A model of the Swiss roll.
FILE_SECONDS = 15


def seconds(model, is_untrained, measures):
    """Seconds of what is missing of a cell, of one worker.

    Args:
        model: its `cells.Model`.
        is_untrained: see `cells.missing`.
        measures: see `cells.missing`.
    """
    total = _images_seen(model) / IMAGES_PER_SECOND if is_untrained else 0.0
    for measure in measures:
        options, own = dict(measure.options), OTHER_MEASURE_SECONDS.get(measure.name, 10)
        if measure.name in ("attack", "strongest"):
            batteries = len(options.get("objectives", [None])) * (1 + options.get("restarts", 0))
            pairs = options.get("attacked", options["pairs"])
            evaluations = pairs * options["weights"] * options["max_evaluations"]
            own = batteries * evaluations / EVALUATIONS_PER_SECOND
        has_chain = "mcmc" in str(model.option("defence", ""))
        total += own * (CHAIN_TIMES if has_chain and "ancestors" in options else 1)
    return total


def in_words(seconds):
    """Seconds as hours and minutes."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def _images_seen(model):
    """How many images a model is trained on, repeated ones each time."""
    if model.option("steps") is not None:
        return model.option("steps") * model.option("batch_size")
    epochs = model.option("epochs", RECIPES[model.option("preset")].epochs)
    return epochs * _training_images(model.dataset, model.data_dir)


@functools.cache
def _training_images(dataset, data_dir):
    return datasets.info(dataset, data_dir).splits["train"]
