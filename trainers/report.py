"""What a training leaves to look at: test scores, figures and a small latent attack."""

import functools

import numpy as np

from seatbelt_tf import attacks, evaluation, figures, runs
from seatbelt_tf.batches import l2_norms
from trainers import batteries, battery_flags, events, splits, terminal, training
from trainers.evaluation.output import number

TEST_IMAGES = 4000
ATTACKED_PAIRS = 3
TRAVERSED = "A test image while one unit moves, the most informative ones (zi[j]: layer i, unit j)"
# λ of the small attack: from where a distortion is cheap to where hardly any is left.
ATTACK_WEIGHTS = 2.0 ** np.arange(2, 15)


def write(run, config, model):
    """Scores the model on the test split and draws it; prints what was written.

    Args:
        run: a `runs.Run`.
        config: its configuration.
        model: the trained `SeatbeltVAE`.
    """
    test = splits.batches(config["data"], "test", batch_size=splits.BATCH)
    held = splits.info(config["data"]).splits["test"]
    batches = -(-min(TEST_IMAGES, held) // splits.BATCH)
    progress = terminal.Progress(batches, 0, "batches", "test", terminal.PAUSE)
    scores = training.validate(model, test.take(batches), progress.update)
    runs.write_json(run.evaluation / "test.json", scores)
    told = ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in scores.items())
    print(f"test, nats an image: {told}")
    count = min(256, held)
    images = next(iter(splits.batches(config["data"], "test", batch_size=count, shuffle=True)))
    drawn = {
        "reconstructions": lambda: figures.reconstructions(
            images[:24].numpy(), model(images[:24]).numpy(), title="Test images"
        ),
        "prior_samples": lambda: figures.image_grid(
            model.sample(32).numpy(), title="Prior samples"
        ),
        "training_curves": lambda: figures.training_curves(
            {name: np.array(column) for name, column in run.read_metrics().items()}
        ),
    }
    # Neither can be made of a single image.
    if len(images) > 1:
        drawn["traversals"] = lambda: _traversals(model, images)
    pairs = min(ATTACKED_PAIRS, len(images) // 2)
    if pairs:
        ancestors = battery_flags.usual_ancestors(config)
        ends = images[: 2 * pairs]
        drawn["latent_attack"] = functools.partial(_latent_attack, model, ends, ancestors)
    paths = [
        figures.save(draw(), run.figures / f"{name}.png")
        for name, draw in terminal.shown(drawn.items(), "figure", None)
    ]
    print(f"figures: {', '.join(map(str, paths))}")
    events.write_test(run, config, scores, paths)


def _traversals(model, images):
    values = (-2, -1, 0, 1, 2)
    decoded, names = evaluation.traverse(model, images, units=8, values=values)
    return figures.traversals(decoded, labels=names, values=values, title=TRAVERSED)


def _latent_attack(model, images, ancestors):
    """The paper's figure 1: (2P, H, W, C) test images, the second half the targets."""
    images, targets = np.split(images.numpy(), 2)
    terminal.say(f"attacking {len(images)} test images")
    pair = np.repeat(np.arange(len(images)), len(ATTACK_WEIGHTS))
    ends = images[pair], targets[pair]
    result = attacks.attack(
        model,
        *ends,
        np.tile(ATTACK_WEIGHTS, len(images)),
        ancestors=ancestors,
        max_evaluations=200,
        pair_ids=pair,
    )
    records = {
        "pair": pair,
        "adversarial": result.adversarial,
        "distortion_norm": result.distortion_norm,
        "target_distance": l2_norms(ends[1] - ends[0]),
        "closed_share": attacks.score(model, *ends, result.adversarial).closed_share,
    }
    return batteries.panel(model, images, targets, records, "Latent attack, all layers, KL")
