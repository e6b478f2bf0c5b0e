"""One call that attacks many images at once."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from seatbelt_tf import checks, gaussians, pixels
from seatbelt_tf.attacks import box_lbfgs, objectives

ANCESTORS = ("mean", "sample", "fresh")


class AttackResult(NamedTuple):
    """What an attack found; every field has leading dimension B.

    Attributes:
        adversarial: (B, H, W, C) attacked images x + d, within the bounds.
        distortion: (B, H, W, C) d.
        loss: (B,) Δ = λ‖d‖₂ + divergence, as minimised.
        divergence: (B,) the divergence part of Δ alone, as minimised.
        unattacked_divergence: (B,) the same at d = 0.
        distortion_norm: (B,) ‖d‖₂, pixels in [-1, 1].
        projected_gradient_norm: (B,) ‖P(x − ∇Δ) − x‖∞ at the result.
        evaluations: (B,) int32 evaluations of Δ used.
        status: (B,) int32 `Status`.
    """

    adversarial: np.ndarray
    distortion: np.ndarray
    loss: np.ndarray
    divergence: np.ndarray
    unattacked_divergence: np.ndarray
    distortion_norm: np.ndarray
    projected_gradient_norm: np.ndarray
    evaluations: np.ndarray
    status: np.ndarray


def paper_weights(count=50):
    """The paper's weights λ: (count,) float64, geometric from 2^-20 to 2^20 (section 5)."""
    return np.geomspace(2.0**-20, 2.0**20, checks.positive_integer("count", count))


def attack(
    victim,
    images,
    targets,
    weights,
    objective="latent_kl",
    layers="all",
    ancestors="mean",
    bounds=(-1.0, 1.0),
    max_evaluations=400,
    seed=0,
    *,
    draws=4,
    squared_norm=False,
    chunk_size=500,
):
    """Finds distortions d that minimise Δ = λ‖d‖₂ + divergence (the paper's equations 1, 2, 10).

    All B attacks are solved together, each on its own: none depends on the others. The start is
    d = 0, and the best point seen is returned, so that no result is worse than no attack.

    Args:
        victim: a `SeatbeltVAE` or a `Victim`.
        images: (B, H, W, C) images x to distort.
        targets: (B, H, W, C) images x_t to be taken for.
        weights: (B,) the paper's λ ≥ 0.
        objective: one of `objectives.names()`.
        layers: "all", "top", "bottom" or the indices of the attacked layers, 0 the bottom.
        ancestors: how q(z^i | x) gets its ancestors for i ≥ 2: at their "mean"; averaged over
            `draws` fixed draws, the same for all images and the whole minimisation ("sample"); or
            redrawn at every evaluation ("fresh"). The last is broken: a quasi-Newton method fails
            on a noisy function, which makes hierarchical models look robust. It is here only to
            reproduce and explain published figures.
        bounds: (lower, upper) of the pixels of x + d.
        max_evaluations: evaluations of Δ and its gradient allowed to each attack.
        seed: of the ancestors' draws.
        draws: number of draws S for "sample" and "fresh".
        squared_norm: λ‖d‖₂² in place of λ‖d‖₂.
        chunk_size: attacks solved at once, which bounds the memory.

    Returns:
        `AttackResult` of NumPy arrays.

    Raises:
        ValueError: shapes or lengths differ, images outside the bounds, negative or not finite λ,
            unknown names, no layers, or a victim whose posteriors are not finite.
    """
    goal = objectives.find(objective)
    layers = _layer_indices(layers, len(victim.latent_dims))
    checks.one_of("ancestors", ancestors, ANCESTORS)
    images, targets, weights = _check_arguments(victim, images, targets, weights, bounds)
    noise = None if ancestors == "mean" else _draw(victim, draws, seed)
    results = []
    for start in range(0, len(images), checks.positive_integer("chunk_size", chunk_size)):
        chunk = slice(start, start + chunk_size)
        results.append(
            _attack_chunk(
                _Problem(victim, goal, layers, noise, ancestors == "fresh", squared_norm),
                images[chunk],
                targets[chunk],
                weights[chunk],
                bounds,
                {"max_evaluations": max_evaluations},
            )
        )
    return AttackResult(*(np.concatenate(field) for field in zip(*results, strict=True)))


class _Problem(NamedTuple):
    victim: object
    goal: type
    layers: tuple
    noise: tuple | None
    is_redrawn: bool
    squared_norm: bool

    def prepare(self, targets):
        return self.goal.prepare(self.victim, targets, self.noise)

    def divergence(self, images, prepared):
        noise = self.noise
        if self.is_redrawn:
            noise = tuple(tf.random.normal(tf.shape(draw)) for draw in noise)
        return self.goal.divergence(self.victim, images, prepared, noise, self.layers)

    def distance(self, distortion):
        flat = tf.reshape(distortion, [tf.shape(distortion)[0], -1])
        if self.squared_norm:
            return tf.reduce_sum(tf.square(flat), axis=1)
        return gaussians.safe_norm(flat)


def _attack_chunk(problem, images, targets, weights, bounds, options):
    shape = images.shape[1:]
    images, weights = tf.constant(images), tf.constant(weights, tf.float32)
    prepared = problem.prepare(tf.constant(targets))
    unattacked = problem.divergence(images, prepared)
    if not np.all(np.isfinite(unattacked)):
        count = np.sum(~np.isfinite(unattacked))
        raise checks.invalid("victim", "finite posteriors", f"{count} divergences not finite")

    def value_and_gradients(positions, items):
        own = tf.nest.map_structure(lambda t: tf.gather(t, items), prepared)
        start = tf.gather(images, items)
        with tf.GradientTape() as tape:
            tape.watch(positions)
            attacked = tf.reshape(positions, [-1, *shape])
            value = tf.gather(weights, items) * problem.distance(attacked - start)
            value += problem.divergence(attacked, own)
        return value, tape.gradient(value, positions)

    flat = tf.reshape(images, [len(images), -1])
    lower, upper = (tf.fill(flat.shape, float(bound)) for bound in bounds)
    found = box_lbfgs.minimize_in_box(value_and_gradients, flat, lower, upper, **options)
    adversarial = tf.reshape(found.position, images.shape)
    distortion = adversarial - images
    return AttackResult(
        adversarial=adversarial.numpy(),
        distortion=distortion.numpy(),
        loss=np.asarray(found.value),
        divergence=problem.divergence(adversarial, prepared).numpy(),
        unattacked_divergence=unattacked.numpy(),
        distortion_norm=gaussians.safe_norm(tf.reshape(distortion, flat.shape)).numpy(),
        projected_gradient_norm=np.asarray(found.projected_gradient_norm),
        evaluations=np.asarray(found.evaluations),
        status=np.asarray(found.status),
    )


def _draw(victim, draws, seed):
    draws, seed = checks.positive_integer("draws", draws), checks.seed("seed", seed)
    keys = tf.random.experimental.stateless_split([seed, 0], len(victim.latent_dims))
    return tuple(
        tf.random.stateless_normal([draws, units], key)
        for units, key in zip(victim.latent_dims, tf.unstack(keys), strict=True)
    )


def _layer_indices(layers, depth):
    named = {"all": range(depth), "bottom": range(1), "top": range(depth - 1, depth)}
    try:
        indices = sorted({int(layer) for layer in named.get(layers, layers)})
    except (TypeError, ValueError):
        indices = []
    if not indices or indices[0] < 0 or indices[-1] >= depth:
        raise checks.invalid(
            "layers", f"'all', 'top', 'bottom' or indices from 0 to {depth - 1}", repr(layers)
        )
    return tuple(indices)


def _check_arguments(victim, images, targets, weights, bounds):
    lower, upper = bounds
    if not lower < upper:
        raise checks.invalid("bounds", "(lower, upper) with lower < upper", repr(bounds))
    arrays = []
    for name, values in (("images", images), ("targets", targets)):
        values = np.asarray(values)
        pixels.check_spec(
            tf.TensorShape(values.shape), tf.as_dtype(values.dtype), victim.image_shape, name
        )
        values = values.astype(np.float32)
        if not np.all(np.isfinite(values)) or values.min() < lower or values.max() > upper:
            raise checks.invalid(
                name, f"pixels within the bounds {bounds}", f"{values.min()} to {values.max()}"
            )
        arrays.append(values)
    weights = np.asarray(weights, np.float64)
    if len({len(arrays[0]), len(arrays[1]), *weights.shape}) != 1 or weights.ndim != 1:
        raise checks.invalid(
            "weights.shape",
            "one weight and one target an image",
            f"{weights.shape} for {len(arrays[0])} images and {len(arrays[1])} targets",
        )
    if not np.all(np.isfinite(weights)) or np.any(weights < 0):
        raise checks.invalid("weights", "finite numbers of at least 0", repr(weights))
    return (*arrays, weights)
