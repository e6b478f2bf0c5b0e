"""What the attacker minimises, as compiled functions: Δ = λ‖d‖₂ + divergence."""

import operator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from seatbelt_tf import checks, gaussians
from seatbelt_tf.attacks import box, objectives, scoring
from seatbelt_tf.attacks.box_result import Status
from seatbelt_tf.attacks.compiled import Compiled
from seatbelt_tf.attacks.minimize import minimize_in_box
from seatbelt_tf.batches import l2_norms

# The loss is computed in float32 and known to this share of its value.
_ROUNDING = 10 * np.finfo(np.float32).eps
ANCESTORS = ("mean", "sample", "fresh")


class Found(NamedTuple):
    """The fields of `AttackResult` that a minimisation gives."""

    adversarial: np.ndarray
    loss: np.ndarray
    divergence: np.ndarray
    unattacked_divergence: np.ndarray
    distortion_norm: np.ndarray
    projected_gradient_norm: np.ndarray
    evaluations: np.ndarray
    status: np.ndarray


class Problem:
    """Δ of one objective on one victim, and its minimisation; traced once for all calls.

    Args:
        victim: see `attack`, like the others.
        objective: name.
        layers: "all", "top", "bottom" or indices.
        ancestors: "mean", "sample" or "fresh".
        draws: number of draws of the ancestors.
        seed: of the draws.
        squared_norm: λ‖d‖₂² in place of λ‖d‖₂.

    Raises:
        ValueError: an unknown name, no layers or some for an objective of the whole model, or draws
            or a seed out of range.
    """

    def __init__(self, victim, objective, layers, ancestors, draws, seed, squared_norm=False):
        self.victim, self.objective = victim, objective
        self.layers = _layer_indices(layers, len(victim.latent_dims))
        self.squared_norm = squared_norm
        self._goal = objectives.find(objective)
        if not self._goal.has_layers and len(self.layers) < len(victim.latent_dims):
            raise checks.invalid(
                "layers", f"'all', since {objective} attacks the whole model", repr(layers)
            )
        checks.one_of("ancestors", ancestors, ANCESTORS)
        self._noise = None
        if ancestors != "mean":
            self._noise = scoring.draw(victim, draws, seed, scoring.ATTACKS)
        self._redrawn = tf.random.Generator.from_seed(seed) if ancestors == "fresh" else None
        self._compiled = {}

    def prepare(self, targets):
        """What is computed once of the targets: (B, H, W, C) -> nested (B, …)."""
        return self._goal.prepare(self.victim, targets, self._noise)

    def divergence(self, images, prepared):
        """The divergence part of Δ: (B, H, W, C) and prepared targets -> (B,)."""
        noise = self._noise
        if noise is not None and self._redrawn is not None:
            noise = tuple(self._redrawn.normal(tf.shape(draw)) for draw in noise)
        return self._goal.divergence(self.victim, images, prepared, noise, self.layers)

    def cost(self, distances):
        """What λ multiplies: ‖d‖₂ or its square."""
        return distances**2 if self.squared_norm else distances

    def _loss(self, images, start, weights, prepared):
        distortion = tf.reshape(images - start, [tf.shape(images)[0], -1])
        squared = tf.reduce_sum(tf.square(distortion), axis=1)
        cost = squared if self.squared_norm else gaussians.safe_sqrt(squared)
        return weights * cost + self.divergence(images, prepared)

    def unsolved(self, images, targets, weights, points):
        """`Found` at points that nobody searched from: arrays of leading dimension B.

        Status and projected gradient are those of a search without evaluations; the unattacked
        divergence is for a search to compute.
        """
        prepared = self.compiled(self.prepare)(tf.constant(targets))
        divergence = self.compiled(self.divergence)(points, prepared).numpy()
        distances = l2_norms(points - images)
        return Found(
            adversarial=points,
            loss=(weights * self.cost(distances) + divergence).astype(np.float32),
            divergence=divergence,
            unattacked_divergence=np.full_like(divergence, np.nan),
            distortion_norm=distances,
            projected_gradient_norm=np.full_like(divergence, np.inf),
            evaluations=np.zeros(len(images), np.int32),
            status=np.full(len(images), Status.EVALUATION_LIMIT, np.int32),
        )

    def value_and_gradient(self, images, prepared):
        """The divergence part of Δ (B,) and its gradient (B, H, W, C)."""
        with tf.GradientTape() as tape:
            tape.watch(images)
            value = self.divergence(images, prepared)
        return value, tape.gradient(value, images, unconnected_gradients="zero")

    def compiled(self, function, **options):
        """A method of this object, compiled; the same one at every call."""
        key = (function.__name__, *sorted(options.items()))
        if key not in self._compiled:
            self._compiled[key] = Compiled(lambda *arguments: function(*arguments, **options))
        return self._compiled[key]

    def minimize(self, images, targets, weights, starts, bounds, max_evaluations, **options):
        """Solves attacks all at once: arrays of leading dimension B -> `Found`.

        Args:
            images: (B, H, W, C).
            targets: (B, H, W, C).
            weights: (B,) λ.
            starts: (B, H, W, C), where the search begins.
            bounds: (lower, upper) of the pixels.
            max_evaluations: of each.
            options: of `minimize_in_box`; without a memory the objective's own.
        """
        images, starts = tf.constant(images), tf.constant(starts)
        if options["memory"] is None:
            options["memory"] = self._goal.memory
        weights = tf.constant(weights, tf.float32)
        prepared = self.compiled(self.prepare)(tf.constant(targets))
        unattacked = self.compiled(self.divergence)(images, prepared).numpy()
        search = self._search
        if options["optimizer"] != "scipy":
            search = self.compiled(search, bounds=tuple(map(float, bounds)), **options)
            options = {}
        else:
            options["bounds"] = bounds
        found = search(images, prepared, weights, starts, max_evaluations, **options)
        # A gain within the rounding of the loss is none: d = 0 then.
        gained = found.value < unattacked - _ROUNDING * np.abs(unattacked)
        loss = np.where(gained, found.value, unattacked)
        adversarial = tf.reshape(found.position, images.shape)
        adversarial = tf.where(gained[:, None, None, None], adversarial, images)
        distances = gaussians.safe_norm(tf.reshape(adversarial - images, [len(images), -1]))
        norms, statuses = found.projected_gradient_norm.numpy(), found.status.numpy()
        rows = np.flatnonzero((distances == 0) & (statuses != Status.NOT_FINITE))
        if len(rows):
            norms[rows] = self._norms_at_kink(images, weights, prepared, rows, bounds)
            statuses[rows[norms[rows] == 0]] = Status.OPTIMAL_AT_START
        return Found(
            adversarial=adversarial.numpy(),
            loss=loss,
            divergence=self.compiled(self.divergence)(adversarial, prepared).numpy(),
            unattacked_divergence=unattacked,
            distortion_norm=distances.numpy(),
            projected_gradient_norm=norms,
            evaluations=found.evaluations.numpy(),
            status=statuses,
        )

    def _norms_at_kink(self, images, weights, prepared, rows, bounds):
        """The projected gradient's norm at d = 0: (b,), 0 where no distortion lowers Δ.

        λ‖d‖₂ has no gradient at 0 but all vectors of norm up to λ as subgradients; the one that
        counts is the nearest to the divergence's descent into the box. λ‖d‖₂² has the gradient 0.
        """
        if self.squared_norm:
            weights = tf.zeros_like(weights)
        own = tf.nest.map_structure(lambda t: tf.gather(t, rows), (images, weights, prepared))
        images, weights, prepared = own
        _, gradient = self.compiled(self.value_and_gradient)(images, prepared)
        descent = tf.reshape(
            tf.where(box.is_held(images, gradient, *bounds), 0.0, -gradient), [len(rows), -1]
        )
        length = gaussians.safe_norm(descent)
        left = tf.maximum(length - weights, 0) / tf.where(length > 0, length, 1)
        step = tf.reshape(left[:, None] * descent, images.shape)
        step = tf.clip_by_value(images + step, *map(float, bounds)) - images
        return tf.reduce_max(tf.abs(step), axis=[1, 2, 3]).numpy()

    def _search(self, images, prepared, weights, starts, max_evaluations, bounds, **options):
        def value_and_gradients(positions, items):
            own = tf.nest.map_structure(lambda t: tf.gather(t, items), prepared)
            start = tf.gather(images, items)
            with tf.GradientTape() as tape:
                tape.watch(positions)
                attacked = tf.reshape(positions, [-1, *images.shape[1:]])
                value = self._loss(attacked, start, tf.gather(weights, items), own)
            return value, tape.gradient(value, positions)

        power = self._goal.power

        def powers(positions, items):
            value, gradient = value_and_gradients(positions, items)
            return value**power, (power * value ** (power - 1))[:, None] * gradient

        flat = tf.reshape(starts, [-1, starts.shape[1:].num_elements()])
        lower, upper = (tf.fill(tf.shape(flat), float(bound)) for bound in bounds)
        options["max_evaluations"] = max_evaluations
        # SciPy's route is the reference: Δ itself.
        if power == 1 or options.get("optimizer") == "scipy":
            return minimize_in_box(value_and_gradients, flat, lower, upper, **options)
        found = minimize_in_box(powers, flat, lower, upper, **options)
        value, gradient = value_and_gradients(found.position, tf.range(tf.shape(flat)[0]))
        norm = box.projected_norm(found.position, gradient, lower, upper)
        return found._replace(value=value, projected_gradient_norm=norm)


def _layer_indices(layers, depth):
    named = {"all": range(depth), "bottom": range(1), "top": range(depth - 1, depth)}
    try:
        chosen = named[layers] if isinstance(layers, str) else layers
        indices = sorted({operator.index(layer) for layer in chosen})
    except (KeyError, TypeError):
        indices = []
    if not indices or indices[0] < 0 or indices[-1] >= depth:
        raise checks.invalid(
            "layers", f"'all', 'top', 'bottom' or indices from 0 to {depth - 1}", repr(layers)
        )
    return tuple(indices)
