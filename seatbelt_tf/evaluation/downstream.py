"""What a VAE's robustness is worth to classifiers behind it: table 1 of the paper.

Classifiers of three kinds are trained on what a trained model makes of unattacked images, by one
recipe, the same for every model (docs/decisions.md says where it comes from):

    mlp_reconstruction   MLP(y | x̂): a dense hidden layer and a dense output, of reconstructions
    conv_reconstruction  Conv(y | x̂): a fully convolutional network of reconstructions
    mlp_latents          MLP(y | z): as the first, of the embedding: the means of all layers

Latents and reconstructions are those with every latent at its mean. The test images are then
attacked through the VAE, each towards a test image of another class; the classifiers are not seen
by the attacker. A stronger attacker sees model and classifier together, end to end, and may use any
distortion within an L2 ball.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from seatbelt_tf import attacks, checks
from seatbelt_tf.attacks.victim import Attackable, surrogate_of
from seatbelt_tf.batches import in_batches, l2_norms
from seatbelt_tf.evaluation import classifiers
from seatbelt_tf.evaluation.intervals import bootstrap_interval

TASKS = ("mlp_reconstruction", "conv_reconstruction", "mlp_latents")


class Downstream(NamedTuple):
    """Which images were classified as they are labelled.

    Attributes:
        correct: dict of task to (T,) bool: all test images, unattacked.
        attacked_correct: dict of task to (A,) bool: the attacked images, by their own labels.
        rows: (A,) which test images were attacked.
        target_rows: (A,) which test images were their targets.
        distortion_norm: (A,) ‖d‖₂.
        radii: (R,) of the balls of the attacks that see the classifier, if there were any.
        end_to_end_correct: dict of task to (R, A) bool: the same images, by their own labels, under
            all attacks end to end with at most this radius.
    """

    correct: dict[str, np.ndarray]
    attacked_correct: dict[str, np.ndarray]
    rows: np.ndarray
    target_rows: np.ndarray
    distortion_norm: np.ndarray
    radii: np.ndarray | tuple = ()
    end_to_end_correct: dict[str, np.ndarray] | None = None

    def accuracies(self) -> dict[str, dict]:
        """Accuracies with 95 % bootstrap intervals over images, as table 1 has them.

        Returns:
            Dict of task to dict of (mean, lower, upper): "clean", of all test images; "attacked";
            "drop", attacked less clean of the same attacked images (negative: worse); and, of each
            radius as a number, the attack end to end.
        """
        table: dict[str, dict] = {}
        for task, correct in self.correct.items():
            attacked = self.attacked_correct[task]
            table[task] = {
                "clean": bootstrap_interval(correct),
                "attacked": bootstrap_interval(attacked),
                "drop": bootstrap_interval(attacked.astype(float) - correct[self.rows]),
            }
            withstood = (self.end_to_end_correct or {}).get(task, ())
            for radius, found in zip(self.radii, withstood, strict=True):
                table[task][float(radius)] = bootstrap_interval(found)
        return table


def latent_attack(
    model: Attackable,
    images: np.ndarray,
    targets: np.ndarray,
    max_evaluations: int = 150,
    ancestors: str = "mean",
) -> np.ndarray:
    """The paper's attack on downstream tasks: latent_kl on all layers with λ = 1.

    Args:
        model: see `attacks.Attackable`.
        images: (A, H, W, C).
        targets: (A, H, W, C).
        max_evaluations: see `attacks.attack`.
        ancestors: likewise.

    Returns:
        (A, H, W, C) attacked images.
    """
    weights = np.ones(len(images))
    return attacks.attack(
        model, images, targets, weights, ancestors=ancestors, max_evaluations=max_evaluations
    ).adversarial


def evaluate(
    model: Any,
    train: tuple[ArrayLike, ArrayLike],
    test: tuple[ArrayLike, ArrayLike],
    *,
    attacked: int = 200,
    attack: Callable = latent_attack,
    steps: int = 1000,
    seed: int = 0,
    radii: ArrayLike = (),
    shown: Callable = lambda items, _: items,
) -> Downstream:
    """Trains the classifiers, attacks test images through the model and counts what is right.

    Args:
        model: a trained `SeatbeltVAE`, or another function of images to reconstructions with a
            method `embed`; so is its `surrogate()`, if it has one and there are radii.
        train: ((N, H, W, C) images, (N,) integer labels from 0).
        test: ((T, H, W, C) images, (T,) labels).
        attacked: A, how many test images are attacked, chosen by the seed.
        attack: (model, images, targets) -> attacked images.
        steps: training steps of each classifier, of 256 images: 14 epochs of 18,000 images.
        seed: of the classifiers' weights and order, of the attacked images and their targets.
        radii: increasing L2 radii, pixels in [-1, 1], of attacks that see the classifier as well:
            see `end_to_end_attack`.
        shown: (batches, task) -> batches: what every training's batches are passed through, to
            show progress.

    Returns:
        `Downstream`.

    Raises:
        ValueError: labels that are no whole numbers (one an image), a single class, more attacked
            images than there are, or radii that do not increase.
    """
    (images, labels), (test_images, test_labels) = (
        _checked(name, *pair) for name, pair in (("train", train), ("test", test))
    )
    checks.positive_integer("steps", steps)
    if checks.positive_integer("attacked", attacked) > len(test_images):
        raise checks.invalid("attacked", f"at most the {len(test_images)} test images", attacked)
    radii = _increasing(radii)
    rng = np.random.default_rng(checks.seed("seed", seed))
    rows = rng.choice(len(test_images), attacked, replace=False)
    others = [np.flatnonzero(test_labels != test_labels[row]) for row in rows]
    target_rows = np.array([rng.choice(choice) for choice in others])
    originals = test_images[rows]
    adversarial = attack(model, originals, test_images[target_rows])

    classes = int(max(labels.max(), test_labels.max())) + 1
    own = test_labels[rows]
    correct, attacked_correct, seen_correct = {}, {}, {}
    smooth = surrogate_of(model) if len(radii) else None
    stand_ins = (None, None) if smooth is None else (smooth, smooth.embed)
    for seen, stand_in, tasks in zip(
        (model, model.embed), stand_ins, (TASKS[:2], TASKS[2:]), strict=True
    ):
        features, *tested = (in_batches(seen, x) for x in (images, test_images, adversarial))
        for task in tasks:
            logits = classifiers.train(task, features, labels, classes, steps, seed, shown)
            clean, after = (_classes(logits, values) for values in tested)
            correct[task] = clean == test_labels
            attacked_correct[task] = after == own
            ends = _behind(seen, logits), _behind(stand_in, logits)
            seen_correct[task] = _withstood(*ends, originals, own, radii)
    norms = l2_norms(adversarial - originals)
    return Downstream(correct, attacked_correct, rows, target_rows, norms, radii, seen_correct)


def end_to_end_attack(
    logits: Callable,
    images: np.ndarray,
    labels: np.ndarray,
    radius: ArrayLike,
    steps: int = 50,
    starts: int = 2,
    seed: int = 0,
    initial: ArrayLike | None = None,
) -> np.ndarray:
    """Distortions within an L2 ball that raise max_{k ≠ y} logit_k − logit_y furthest.

    Args:
        logits: (b, H, W, C) images -> (b, K), differentiable: model and classifier as one.
        images: (A, H, W, C) pixels in [-1, 1].
        labels: (A,) y.
        radius: () or (A,) > 0, L2.
        steps, starts, seed, initial: see `attacks.maximize_in_ball`.

    Returns:
        (A, H, W, C) attacked images.

    Raises:
        ValueError: see `attacks.maximize_in_ball`, or logits that are not finite.
    """

    def margin(images, labels):
        values, labels = logits(images), tf.cast(labels, tf.int64)
        is_own = tf.one_hot(labels, values.shape[1], True, False)
        others = tf.where(is_own, values.dtype.min, values)
        own = tf.gather(values, labels, batch_dims=1)
        return tf.reduce_max(others, axis=1) - own

    found = attacks.maximize_in_ball(
        margin, images, radius, labels, steps=steps, starts=starts, seed=seed, initial=initial
    )
    if not np.all(np.isfinite(found.value)):
        raise checks.invalid("logits", "finite numbers", "NaN or infinity")
    return np.clip(images + found.distortion, -1.0, 1.0)


def _behind(part, logits):
    """Logits of images through a part of a model; None without one."""
    return None if part is None else lambda images: logits(part(images))


def _withstood(logits, stand_in, images, labels, radii):
    """Which images keep their class under `end_to_end_attack`: -> (R, A) bool.

    `stand_in` are the logits behind the model's surrogate, where attacks begin; None without one.
    """
    if not len(radii):
        return np.zeros((0, len(images)), bool)
    # All radii at once: one search is traced.
    tiled = np.concatenate([images] * len(radii))
    problem = tiled, np.tile(labels, len(radii)), np.repeat(radii, len(images))
    initial = None if stand_in is None else end_to_end_attack(stand_in, *problem) - tiled
    attacked = end_to_end_attack(logits, *problem, initial=initial)
    found = _classes(logits, np.concatenate([images, attacked])).reshape(-1, len(images))
    # A distortion within a ball is within the larger ones, too.
    return np.logical_and.accumulate(found == labels)[1:]


def _increasing(radii: ArrayLike) -> np.ndarray:
    values = np.asarray(radii, float)
    if values.ndim != 1 or not np.all(np.isfinite(values)) or np.any(np.diff([0, *values]) <= 0):
        raise checks.invalid("radii", "increasing positive numbers", repr(radii))
    return values


def _checked(name, images, labels):
    images, labels = np.asarray(images, np.float32), np.asarray(labels)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise checks.invalid(
            f"{name} labels",
            f"whole numbers from 0 of shape ({len(images)},)",
            f"{labels.dtype} of shape {labels.shape}",
        )
    if len(np.unique(labels)) < 2:
        raise checks.invalid(f"{name} labels", "two classes or more", np.unique(labels))
    return images, labels.astype(np.int64)


def _classes(logits, values):
    return in_batches(lambda part: tf.argmax(logits(part), axis=1), values)
