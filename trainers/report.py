"""What a training leaves to look at: test scores, figures and a small latent attack."""

import functools

import numpy as np

from seatbelt_tf import attacks, evaluation, figures, runs
from trainers import events, splits, terminal, training

TEST_IMAGES = 4000
ATTACKED_PAIRS = 3
# Weights λ of the small attack: the distortion almost free, and expensive enough to stay small.
ATTACK_WEIGHTS = (0.01, 1.0, 100.0)


def write(run, config, model):
    """Scores the model on the test split and draws it; prints what was written.

    Args:
        run: a `runs.Run`.
        config: its configuration.
        model: the trained `SeatbeltVAE`.
    """
    test = splits.batches(config["data"], "test", batch_size=splits.BATCH)
    batches = TEST_IMAGES // splits.BATCH
    progress = terminal.Progress(batches, 0, "batches", "test", terminal.PAUSE)
    scores = training.validate(model, test.take(batches), progress.update)
    runs.write_json(run.evaluation / "test.json", scores)
    print("test: " + ", ".join(f"{name} {value:,.1f}" for name, value in scores.items()))
    count = min(256, splits.info(config["data"]).splits["test"])
    images = next(iter(splits.batches(config["data"], "test", batch_size=count, shuffle=True)))
    drawn = {
        "reconstructions": lambda: figures.reconstructions(
            images[:24].numpy(), model(images[:24]).numpy(), title="Test images"
        ),
        "prior_samples": lambda: figures.image_grid(
            model.sample(32).numpy(), title="Prior samples"
        ),
        "traversals": lambda: _traversals(model, images),
        "training_curves": lambda: figures.training_curves(
            {name: np.array(column) for name, column in run.read_metrics().items()}
        ),
    }
    pairs = min(ATTACKED_PAIRS, len(images) // 2)
    if pairs:
        drawn["latent_attack"] = functools.partial(_latent_attack, model, images[: 2 * pairs])
    paths = [
        figures.save(draw(), run.figures / f"{name}.png")
        for name, draw in terminal.shown(drawn.items(), "figure", None)
    ]
    print(f"figures: {', '.join(map(str, paths))}")
    shown = events.Events(run.events)
    steps = config["training"]["steps"]
    shown.scalars(steps, {f"test/{name}": value for name, value in scores.items()})
    shown.figures(steps, paths)


def _traversals(model, images):
    values = (-2, -1, 0, 1, 2)
    decoded, names = evaluation.traverse(model, images, units=8, values=values)
    return figures.traversals(decoded, labels=names, values=values, title="Latent traversals")


def _latent_attack(model, images):
    """The paper's figure 1: (2P, H, W, C) test images, the second half the targets."""
    ends = np.split(images.numpy(), 2)
    terminal.say(f"attacking {len(ends[0])} test images")
    weights = np.tile(ATTACK_WEIGHTS, len(ends[0]))
    inputs, targets = (np.repeat(side, len(ATTACK_WEIGHTS), axis=0) for side in ends)
    result = attacks.attack(model, inputs, targets, weights, max_evaluations=200)
    return figures.attack_panel(
        inputs,
        model(inputs).numpy(),
        result.adversarial,
        model(result.adversarial).numpy(),
        targets,
        model(targets).numpy(),
        labels=[f"$λ = {weight:g}$" for weight in weights],
        title="Latent attack, all layers, KL",
    )
