"""The parts of an evaluation other than batteries, each computed once and kept in a file.

A part's file is named by its settings and by the model's weights, so that results of another model
or other settings are never taken for it.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from seatbelt_tf import presets, runs
from seatbelt_tf.batches import in_batches
from seatbelt_tf.defences import lipschitz
from seatbelt_tf.evaluation import (
    disentanglement,
    distances,
    downstream,
    noisy_log_likelihood,
    stddev_norms,
)
from trainers import batteries, kept, splits, terminal, training

NOISY_IMAGES = 200
TRAINING_IMAGES = 20_000
SHOWN = 16


class Subject(NamedTuple):
    """What is evaluated.

    Attributes:
        run: a `runs.Run`.
        data: the data part of its configuration, with the directory to read from.
        model: its model.
    """

    run: runs.Run
    data: dict
    model: object


def clean(subject, count):
    """Means over test images of the ELBO and its parts (nats): dict of ()."""
    layers = range(1, len(subject.model.latent_dims) + 1)
    fields = ["elbo", "log_likelihood", *(f"kl_layer_{i}" for i in layers), "total_correlation"]

    def compute():
        images, _ = splits.first(subject.data, "test", count)
        test = tf.data.Dataset.from_tensor_slices(images).batch(splits.BATCH)
        progress = terminal.Progress(len(test), 0, "batches", "clean quality", terminal.PAUSE)
        return training.validate(subject.model, test, progress.update)

    return kept.once(subject.run, "clean", {"images": count}, fields, compute)


def noise(subject, count, seed):
    """`noisy_log_likelihood` without noise and at the paper's scales: dict of (M,)."""
    scales = {f"noise_{scale:g}": scale for scale in (0.0, *presets.NOISE_SCALES)}
    count = min(count, NOISY_IMAGES)

    def compute():
        images, _ = splits.first(subject.data, "test", count)
        return {
            name: noisy_log_likelihood(subject.model, images, scale, seed)
            for name, scale in terminal.shown(scales.items(), "noise", "scales")
        }

    return kept.once(subject.run, "noise", {"images": count, "seed": seed}, list(scales), compute)


def overlap(subject, count):
    """`stddev_norms` by layer: dict of (M,)."""
    fields = [f"layer_{layer + 1}" for layer in range(len(subject.model.latent_dims))]

    def compute():
        images, _ = splits.first(subject.data, "test", count)
        batches = np.array_split(images, -(-len(images) // splits.BATCH))
        norms = [
            stddev_norms(subject.model, batch)
            for batch in terminal.shown(batches, "overlap", "batches")
        ]
        return dict(zip(fields, map(np.concatenate, zip(*norms, strict=True)), strict=True))

    return kept.once(subject.run, "overlap", {"images": count}, fields, compute)


def mutual_information_gap(subject, count):
    """MIG of the means of all layers, of a dataset with factors; None for others.

    It compares two units, so that it is None of a model with one, too.
    """
    if splits.info(subject.data).factors is None or sum(subject.model.latent_dims) < 2:
        return None

    def compute():
        images, factors = splits.first(subject.data, "test", count, with_labels=True)
        latents = in_batches(subject.model.embed, images)
        return {"mig": disentanglement.mutual_information_gap(latents, factors)}

    return kept.once(subject.run, "mig", {"images": count}, ["mig"], compute)


def certificates(subject, count):
    """What is proven of a model with the defence "lipschitz", None of others: dict of arrays.

    tolerance (T,), mean_radius (T,) and sample_radius (T, M) of the test images: see
    `lipschitz.certificate`.
    """
    if "lipschitz" not in subject.model.defences or "mcmc" in subject.model.defences:
        return None
    fields = ["tolerance", "mean_radius", "sample_radius"]
    settings = {
        "images": count,
        "pairs": presets.CERTIFIED_PAIRS,
        "shares": presets.CERTIFIED_SHARES,
        "probability": presets.CERTIFIED_PROBABILITY,
    }

    def compute():
        images, _ = splits.first(subject.data, "test", count)
        held = splits.info(subject.data).splits["test"]
        ends = batteries.pairs(subject.data, min(presets.CERTIFIED_PAIRS, held // 2), seed=0)
        tolerances = batteries.median_distance(ends) * np.array(settings["shares"])
        found = [
            lipschitz.certificate(subject.model, images, each, settings["probability"])
            for each in tolerances
        ]
        radii = (np.stack(field) for field in zip(*found, strict=True))
        return dict(zip(fields, (tolerances, *radii), strict=True))

    return kept.once(subject.run, "certificates", settings, fields, compute)


def classifiers(subject, attacked, max_evaluations, seed, ancestors="mean"):
    """`downstream.Downstream` on a dataset with one of several classes an image, or None."""
    info = splits.info(subject.data)
    if info.labels is None or len(info.labels) < 2 or info.factors is not None:
        return None
    _, labels = splits.first(subject.data, "test", 1, with_labels=True)
    if labels.ndim != 1:
        return None
    attacked = min(attacked, info.splits["test"])
    settings = {
        "attacked": attacked,
        "max_evaluations": max_evaluations,
        "seed": seed,
        "training_images": TRAINING_IMAGES,
        **({} if ancestors == "mean" else {"ancestors": ancestors}),
    }
    fields = {f"{kind}_{task}" for kind in ("clean", "attacked") for task in downstream.TASKS}
    others = ("rows", "target_rows", "distortion_norm")

    def attack(*arguments):
        terminal.say(f"attacking {attacked} images")
        adversarial = downstream.latent_attack(*arguments, max_evaluations, ancestors)
        terminal.say("reconstructing the images that classifiers see")
        return adversarial

    def compute():
        terminal.say("reading the images that classifiers see")
        found = downstream.evaluate(
            subject.model,
            splits.first(subject.data, "train", TRAINING_IMAGES, with_labels=True),
            splits.first(subject.data, "test", info.splits["test"], with_labels=True),
            attacked=attacked,
            attack=attack,
            seed=seed,
            shown=lambda batches, task: terminal.shown(batches, task, "batches"),
        )
        return {
            **{f"clean_{task}": values for task, values in found.correct.items()},
            **{f"attacked_{task}": values for task, values in found.attacked_correct.items()},
            **{name: getattr(found, name) for name in others},
        }

    found = kept.once(subject.run, "downstream", settings, [*sorted(fields), *others], compute)
    return downstream.Downstream(
        {task: found[f"clean_{task}"] for task in downstream.TASKS},
        {task: found[f"attacked_{task}"] for task in downstream.TASKS},
        *(found[name] for name in others),
    )


def battery_distances(subject, attacks, records):
    """`distances` of a battery's attacks, averaged over λ: dict of (P,)."""
    names = distances.Distances._fields

    def compute():
        return batteries.distances_by_pair(subject.model, records, attacks.targets)

    return kept.once(subject.run, "distances", {"battery": attacks.path.name}, names, compute)
