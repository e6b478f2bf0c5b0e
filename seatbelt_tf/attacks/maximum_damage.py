"""The untargeted attack: the most damage that a distortion of a given L2 norm can do.

    maximise damage(x + d)  subject to  ‖d‖₂ ≤ r  and  x + d within the bounds

damage being the reconstruction's or the posterior's shift from that of x, in terms of `Damage`.
Projected gradient ascent with steps of r in the gradient's direction at first: for a linear model
that is the power method, which ends at the largest singular value; steps shrink later, since the
best distortion of a curved model is not where the gradient points. The best point seen counts.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from seatbelt_tf import ball, checks, gaussians
from seatbelt_tf.attacks import scoring
from seatbelt_tf.attacks.attack import check_images
from seatbelt_tf.attacks.compiled import Compiled
from seatbelt_tf.attacks.victim import latents

DAMAGES = ("reconstruction", "latent_kl")
_SMALLEST_STEP = 0.02


class Damage(NamedTuple):
    """What the attack found; every field is a NumPy array with leading dimension B.

    Attributes:
        adversarial: (B, H, W, C) attacked images x + d, within the bounds.
        distortion: (B, H, W, C) d.
        distortion_norm: (B,) ‖d‖₂ ≤ r.
        damage: (B,) for "reconstruction" ‖reconstruction(x + d) − reconstruction(x)‖₂, the root
            of its mean square over draws; for "latent_kl" Σ_i KL(q(z^i | x + d) ‖
            q(z^i | x)), nats.
        first_damage: (B,) after the first start: how much the others gained.
    """

    adversarial: np.ndarray
    distortion: np.ndarray
    distortion_norm: np.ndarray
    damage: np.ndarray
    first_damage: np.ndarray


def maximum_damage(
    victim,
    images,
    radius,
    damage="reconstruction",
    ancestors="mean",
    bounds=(-1.0, 1.0),
    steps=100,
    starts=4,
    seed=0,
    *,
    draws=4,
    chunk_size=500,
):
    """Finds distortions within an L2 ball that shift reconstructions or posteriors furthest.

    Args:
        victim: see `Attackable`; "reconstruction" needs its `decode`.
        images: (B, H, W, C) images x.
        radius: () or (B,) r > 0, pixels in [-1, 1].
        damage: one of `DAMAGES`.
        ancestors: ancestors and latents at their "mean", or averaged over `draws` fixed draws
            ("sample"): for a victim whose inference is random.
        bounds: (lower, upper) of the pixels of x + d.
        steps: gradients for each start.
        starts: random distortions to start from; the best result counts.
        seed: of the starts and the draws.
        draws: number of draws for "sample".
        chunk_size: images attacked at once, which bounds the memory.

    Returns:
        `Damage`.

    Raises:
        ValueError: images of a wrong shape or outside the bounds, a radius that is not positive,
            unknown names, or a damage that is not finite.
    """
    checks.one_of("damage", damage, DAMAGES)
    checks.one_of("ancestors", ancestors, ("mean", "sample"))
    steps = checks.positive_integer("steps", steps)
    starts = checks.positive_integer("starts", starts)
    images = check_images(victim, images, bounds)
    radius = _radii(radius, len(images))
    seed = checks.seed("seed", seed)
    noise = None if ancestors == "mean" else scoring.draw(victim, draws, seed + 1)
    measure = _reconstruction if damage == "reconstruction" else _latent
    search = Compiled(_search(victim, measure, noise, bounds, steps))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(starts):
        directions = rng.normal(size=images.shape).astype(np.float32)
        parts = [
            search(*(array[first : first + chunk_size] for array in (images, directions, radius)))
            for first in range(0, len(images), checks.positive_integer("chunk_size", chunk_size))
        ]
        found.append([np.concatenate(field) for field in zip(*parts, strict=True)])
    distortions, damages = (np.stack(field) for field in zip(*found, strict=True))
    if not np.all(np.isfinite(damages)):
        raise checks.invalid("victim", "finite posteriors and reconstructions", "a damage is not")
    best = (np.argmax(damages, axis=0), np.arange(len(images)))
    distortion = distortions[best]
    return Damage(
        adversarial=np.clip(images + distortion, *bounds),
        distortion=distortion,
        distortion_norm=np.linalg.norm(distortion.reshape(len(images), -1), axis=1),
        damage=np.sqrt(damages[best]) if damage == "reconstruction" else damages[best],
        first_damage=np.sqrt(damages[0]) if damage == "reconstruction" else damages[0],
    )


def _search(victim, measure, noise, bounds, steps):
    """A function of (b, H, W, C) images and directions and (b,) radii: -> distortions, damages."""

    def search(images, directions, radius):
        end = tf.nest.map_structure(tf.stop_gradient, measure(victim, images, noise, None))
        size = radius[:, None, None, None]

        def value_and_gradient(distortion):
            with tf.GradientTape() as tape:
                tape.watch(distortion)
                value = measure(victim, images + distortion, noise, end)
            return value, tape.gradient(value, distortion)

        def step(number, distortion, best, highest):
            value, gradient = value_and_gradient(distortion)
            best = tf.where((value > highest)[:, None, None, None], distortion, best)
            share = tf.cast(number, tf.float32) / steps
            length = _SMALLEST_STEP + (1 - _SMALLEST_STEP) * tf.square(tf.cos(np.pi / 2 * share))
            distortion += length * size * ball.unit(gradient)
            distortion = ball.project(distortion, images, radius, bounds)
            return number + 1, distortion, best, tf.maximum(value, highest)

        start = ball.project(size * ball.unit(directions), images, radius, bounds)
        nothing = tf.fill(tf.shape(radius), -np.inf)
        _, last, best, highest = tf.while_loop(
            lambda number, *_: number < steps,
            step,
            (0, start, tf.zeros_like(images), nothing),
        )
        value = measure(victim, images + last, noise, end)
        # NaN is passed on, for the caller to refuse.
        is_better = ~(value <= highest)
        best = tf.where(is_better[:, None, None, None], last, best)
        return best, tf.where(is_better, value, highest)

    return search


def _reconstruction(victim, images, noise, end):
    """Mean squared shift over draws from `end`: -> (b,); without one, reconstructions (b, S·D)."""
    drawn = latents(victim.posteriors(images, noise), noise)
    decoded = tf.reshape(victim.decode(drawn), [tf.shape(images)[0], -1])
    if end is None:
        return decoded
    draws = 1 if noise is None else noise[0].shape[0]
    return tf.reduce_sum(tf.square(decoded - end), axis=1) / draws


def _latent(victim, images, noise, end):
    """Σ_i KL from `end` averaged over draws: -> (b,); without one, the posteriors."""
    posteriors = victim.posteriors(images, noise)
    if end is None:
        return posteriors
    pairs = zip(posteriors, end, strict=True)
    total = tf.add_n([gaussians.kl(gaussians.Gaussian(*one), two) for one, two in pairs])
    return total if noise is None else tf.reduce_mean(total, axis=1)


def _radii(radius, count):
    radius = np.asarray(radius, np.float32)
    if radius.shape not in ((), (count,)) or not np.all(np.isfinite(radius) & (radius > 0)):
        raise checks.invalid("radius", "one positive number, or one an image", repr(radius))
    return np.broadcast_to(radius, (count,)).copy()
