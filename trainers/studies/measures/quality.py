"""What is measured of models without attacks, and of classifiers behind them."""

import functools

import numpy as np
import tensorflow as tf

from seatbelt_tf.batches import in_batches, l2_norms
from seatbelt_tf.defences import pca
from seatbelt_tf.evaluation import disentanglement as mig
from seatbelt_tf.evaluation import downstream as table1
from seatbelt_tf.evaluation import noise
from trainers import splits, training
from trainers.studies.measures.common import SEED, squared_errors

SHOWN = 12


def clean(model, run, config, images):
    """Mean ELBO and its parts, mean squared error of the reconstruction, and what training took."""
    test, _ = splits.first(config["data"], "test", images)
    batches = tf.data.Dataset.from_tensor_slices(test).batch(splits.BATCH)
    found = training.validate(model, batches)
    rebuilt = in_batches(model, test)
    found["squared_error"] = np.mean(squared_errors(rebuilt, test))
    metrics = run.read_metrics()
    return {
        **found,
        "training_step": metrics["step"],
        "training_elbo": metrics["elbo"],
        "images": test[:SHOWN],
        "reconstructions": rebuilt[:SHOWN],
    }


def projection(model, _run, config, images):
    """How much of a model with the defence "pca" is principal components alone, by image: (M,).

    "projection_error" and "squared_error" are of their image and of the model's reconstruction;
    "network_norm" is the distance between the two, what the decoder's network adds.
    """
    test, _ = splits.first(config["data"], "test", images)
    alone = in_batches(functools.partial(pca.projected, model), test)
    rebuilt = in_batches(model, test)
    return {
        "projection_error": squared_errors(alone, test),
        "squared_error": squared_errors(rebuilt, test),
        "network_norm": l2_norms(rebuilt - alone),
    }


def samples(model, _run, _config, count):
    """Images decoded from draws of the prior."""
    return {"samples": model.sample(count, seed=SEED).numpy()}


def denoising(model, _run, config, images, scales):
    """log p(x | z), z ~ q(z | x + aε), of every image: (A, M) for the scales a."""
    test, _ = splits.first(config["data"], "test", images)
    values = [noise.noisy_log_likelihood(model, test, scale) for scale in scales]
    return {"scales": scales, "log_likelihood": np.stack(values)}


def overlap(model, _run, config, images):
    """‖σ(x)‖₂ of every image by layer: (M,) each."""
    test, _ = splits.first(config["data"], "test", images)
    norms = noise.stddev_norms(model, test)
    return {f"layer_{layer}": values for layer, values in enumerate(norms)}


def disentanglement(model, _run, config, images):
    """MIG of the posterior means of all layers, from images with their factors."""
    test, factors = splits.first(config["data"], "test", images, with_labels=True)
    latents = in_batches(model.embed, test)
    return {"mig": mig.mutual_information_gap(latents, factors)}


def downstream(model, _run, config, attacked, labelled, steps, radii=()):
    """Which images classifiers get right, unattacked and attacked: `evaluation.downstream`."""
    train = splits.first(config["data"], "train", labelled, with_labels=True)
    found = table1.evaluate(
        model,
        train,
        splits.first(config["data"], "test", labelled, with_labels=True),
        attacked=attacked,
        steps=steps,
        radii=radii,
    )
    fields = {"rows": found.rows, "distortion_norm": found.distortion_norm}
    for task in table1.TASKS:
        fields[f"clean_{task}"] = found.correct[task]
        fields[f"attacked_{task}"] = found.attacked_correct[task]
        if radii:
            fields[f"end_to_end_{task}"] = found.end_to_end_correct[task]
    return fields
