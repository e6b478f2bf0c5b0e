"""One call that attacks many images at once."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from seatbelt_tf import checks, gaussians, pixels
from seatbelt_tf.attacks import objectives, scoring
from seatbelt_tf.attacks.box_lbfgs import minimize_in_box

ANCESTORS = ("mean", "sample", "fresh")


class AttackResult(NamedTuple):
    """What an attack found; every field is a NumPy array with leading dimension B.

    Attributes:
        adversarial: (B, H, W, C) attacked images x + d, within the bounds.
        distortion: (B, H, W, C) d.
        loss: (B,) Δ = λ‖d‖₂ + divergence, as minimised; never above Δ at d = 0.
        divergence: (B,) the divergence part of Δ alone, as minimised.
        unattacked_divergence: (B,) the same at d = 0.
        fresh_divergence: (B,) the divergence part again, with ancestors drawn afresh.
        distortion_norm: (B,) ‖d‖₂, pixels in [-1, 1].
        projected_gradient_norm: (B,) ‖P(x − ∇Δ) − x‖∞ at the result.
        evaluations: (B,) int32 evaluations of Δ used, all starts together.
        status: (B,) int32 `Status` of the start that won.
        first_loss: (B,) Δ after the first start, at d = 0: how much the others gained.
    """

    adversarial: np.ndarray
    distortion: np.ndarray
    loss: np.ndarray
    divergence: np.ndarray
    unattacked_divergence: np.ndarray
    fresh_divergence: np.ndarray
    distortion_norm: np.ndarray
    projected_gradient_norm: np.ndarray
    evaluations: np.ndarray
    status: np.ndarray
    first_loss: np.ndarray


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
    restarts=0,
    pair_ids=None,
    optimizer="lbfgs",
    chunk_size=500,
):
    """Finds distortions d that minimise Δ = λ‖d‖₂ + divergence (the paper's equations 1, 2, 10).

    All B attacks are solved together, each on its own: none depends on the others (but for
    `pair_ids`). The start is d = 0, and the best point seen is returned, so that no result is
    worse than no attack.

    Args:
        victim: a `SeatbeltVAE`, a `Victim` or anything else that is `Attackable`.
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
        max_evaluations: evaluations of Δ and its gradient allowed to each attack and start.
        seed: of the ancestors' draws and the restarts.
        draws: number of draws S for "sample" and "fresh".
        squared_norm: λ‖d‖₂² in place of λ‖d‖₂.
        restarts: further starts from uniformly random distortions; the best result counts.
        pair_ids: (B,) integers, equal for attacks on the same images and targets that differ in λ
            only: where another's result is better under an attack's own λ, it is minimised again
            from there (a warm start along the λ path).
        optimizer: "lbfgs", "tfp" or "scipy": see `minimize_in_box`.
        chunk_size: attacks solved at once, which bounds the memory.

    Returns:
        `AttackResult`.

    Raises:
        ValueError: shapes or lengths differ, images outside the bounds, negative or not finite λ,
            unknown names, no layers, or a victim whose posteriors are finite for none of the
            images (an attack on one for which they are not ends with `Status.NOT_FINITE`, and
            leaves the others as they are).
    """
    problem = _problem(victim, objective, layers, ancestors, draws, seed, squared_norm)
    images, targets, weights = _check_arguments(victim, images, targets, weights, bounds)

    def solve(rows, starts):
        size = checks.positive_integer("chunk_size", chunk_size)
        parts = [rows[first : first + size] for first in range(0, len(rows), size)]
        found = [
            _minimize(
                problem,
                *(array[part] for array in (images, targets, weights, starts)),
                bounds,
                {"max_evaluations": max_evaluations, "optimizer": optimizer},
            )
            for part in parts
        ]
        return _Found(*(np.concatenate(field) for field in zip(*found, strict=True)))

    everything = np.arange(len(images))
    best = solve(everything, images)
    first_loss = best.loss.copy()
    rng = np.random.default_rng(checks.seed("seed", seed))
    for _ in range(restarts):
        distortions = rng.uniform(-0.5, 0.5, images.shape).astype(np.float32)
        starts = np.clip(images + distortions, *bounds)
        _keep_better(best, everything, solve(everything, starts))
    if pair_ids is not None:
        rows, sources = _better_neighbours(best, np.asarray(pair_ids), weights, problem)
        if len(rows):
            starts = images.copy()
            starts[rows] = best.adversarial[sources]
            _keep_better(best, rows, solve(rows, starts))
    return AttackResult(
        distortion=best.adversarial - images,
        fresh_divergence=scoring.fresh_divergence(
            victim, best.adversarial, targets, objective, problem.layers, seed + 1
        ),
        first_loss=first_loss,
        **best._asdict(),
    )


class _Found(NamedTuple):
    """The fields of `AttackResult` that a minimisation gives."""

    adversarial: np.ndarray
    loss: np.ndarray
    divergence: np.ndarray
    unattacked_divergence: np.ndarray
    distortion_norm: np.ndarray
    projected_gradient_norm: np.ndarray
    evaluations: np.ndarray
    status: np.ndarray


def _keep_better(best, rows, found):
    """Overwrites `best` at `rows` where `found` is lower; evaluations add up."""
    better = found.loss < best.loss[rows]
    for field in _Found._fields:
        if field != "evaluations":
            getattr(best, field)[rows[better]] = getattr(found, field)[better]
    best.evaluations[rows] += found.evaluations


def _better_neighbours(best, pair_ids, weights, problem):
    """Rows whose pair has a better result at another λ, and that result's row."""
    rows, sources = [], []
    cost = best.distortion_norm**2 if problem.squared_norm else best.distortion_norm
    for pair in np.unique(pair_ids):
        members = np.flatnonzero(pair_ids == pair)
        losses = weights[members, None] * cost[members] + best.divergence[members]
        losses = np.where(np.isfinite(losses), losses, np.inf)
        nearest = np.argmin(losses, axis=1)
        # Rounding of the loss in float32 is no reason to start again.
        is_better = losses[np.arange(len(members)), nearest] < best.loss[members] * (1 - 1e-5)
        rows += members[is_better].tolist()
        sources += members[nearest[is_better]].tolist()
    return np.array(rows, int), np.array(sources, int)


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


def _problem(victim, objective, layers, ancestors, draws, seed, squared_norm=False):
    goal = objectives.find(objective)
    layers = _layer_indices(layers, len(victim.latent_dims))
    checks.one_of("ancestors", ancestors, ANCESTORS)
    noise = None if ancestors == "mean" else scoring.draw(victim, draws, seed)
    return _Problem(victim, goal, layers, noise, ancestors == "fresh", squared_norm)


def divergence_and_gradient(
    victim, targets, objective="latent_kl", layers="all", ancestors="mean", draws=4, seed=0
):
    """The divergence part of Δ towards given targets, with its gradient, as `attack` sees it.

    Args:
        victim: see `attack`.
        targets: (B, H, W, C).
        objective: see `attack`.
        layers: see `attack`.
        ancestors: see `attack`.
        draws: see `attack`.
        seed: see `attack`.

    Returns:
        A function of (B, H, W, C) images that gives (B,) values and (B, H, W, C) gradients.
    """
    problem = _problem(victim, objective, layers, ancestors, draws, seed)
    prepared = problem.prepare(tf.constant(targets))

    @tf.function(autograph=False)
    def function(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            value = problem.divergence(images, prepared)
        gradient = tape.gradient(value, images, unconnected_gradients="zero")
        return value, gradient

    return function


def _minimize(problem, images, targets, weights, starts, bounds, options):
    """Solves the attacks of one chunk, all at once: -> `_Found`."""
    shape, count = images.shape[1:], len(images)
    images, weights = tf.constant(images), tf.constant(weights, tf.float32)
    prepared = tf.function(problem.prepare, autograph=False)(tf.constant(targets))
    divergence = tf.function(problem.divergence, autograph=False)
    unattacked = divergence(images, prepared).numpy()
    if not np.any(np.isfinite(unattacked)):
        raise checks.invalid("victim", "finite posteriors", "no divergence is finite")

    def value_and_gradients(positions, items):
        own = tf.nest.map_structure(lambda t: tf.gather(t, items), prepared)
        start = tf.gather(images, items)
        with tf.GradientTape() as tape:
            tape.watch(positions)
            attacked = tf.reshape(positions, [-1, *shape])
            value = tf.gather(weights, items) * problem.distance(attacked - start)
            value += problem.divergence(attacked, own)
        return value, tape.gradient(value, positions)

    flat = tf.reshape(starts, [count, -1])
    lower, upper = (tf.fill(flat.shape, float(bound)) for bound in bounds)
    found = minimize_in_box(value_and_gradients, flat, lower, upper, **options)
    adversarial = tf.reshape(found.position, images.shape)
    distances = gaussians.safe_norm(tf.reshape(adversarial - images, flat.shape))
    return _Found(
        adversarial=adversarial.numpy(),
        loss=found.value.numpy(),
        divergence=divergence(adversarial, prepared).numpy(),
        unattacked_divergence=unattacked,
        distortion_norm=distances.numpy(),
        projected_gradient_norm=found.projected_gradient_norm.numpy(),
        evaluations=found.evaluations.numpy(),
        status=found.status.numpy(),
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
