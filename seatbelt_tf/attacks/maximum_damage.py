"""The untargeted attack: the most damage that a distortion of a given L2 norm can do.

    maximise damage(x + d)  subject to  ‖d‖₂ ≤ r  and  x + d within the bounds

damage being the reconstruction's or the posterior's shift from that of x, in terms of `Damage`,
by `maximize_in_ball`, which begins with what was found on the victim's `surrogate`, if it has one.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from seatbelt_tf import checks, pixels
from seatbelt_tf.attacks import objectives, scoring
from seatbelt_tf.attacks.ball_ascent import maximize_in_ball
from seatbelt_tf.attacks.compiled import Compiled
from seatbelt_tf.attacks.victim import Attackable, check_attackable, latents, surrogate_of
from seatbelt_tf.batches import in_batches, l2_norms

DAMAGES = ("reconstruction", "latent_kl")


class Damage(NamedTuple):
    """What the attack found; every field is a NumPy array with leading dimension B.

    Attributes:
        adversarial: (B, H, W, C) attacked images x + d, within the bounds.
        distortion: (B, H, W, C) d.
        distortion_norm: (B,) ‖d‖₂ ≤ r.
        damage: (B,) for "reconstruction" ‖reconstruction(x + d) − reconstruction(x)‖₂, the root
            of its mean square over draws; for "latent_kl" Σ_i KL(q(z^i | x + d) ‖
            q(z^i | x)), nats. Draws are those that the attack was found with, and fits.
        first_damage: (B,) after the first start: how much the others gained.
        fresh_damage: (B,) the damage by draws that the attack has not seen; with ancestors at
            their means the same as `damage`.
    """

    adversarial: np.ndarray
    distortion: np.ndarray
    distortion_norm: np.ndarray
    damage: np.ndarray
    first_damage: np.ndarray
    fresh_damage: np.ndarray


def maximum_damage(
    victim: Attackable,
    images: ArrayLike,
    radius: ArrayLike,
    damage: str = "reconstruction",
    ancestors: str = "mean",
    bounds: tuple[float, float] = (-1.0, 1.0),
    steps: int = 100,
    starts: int = 4,
    seed: int = 0,
    *,
    draws: int = 4,
    chunk_size: int = 500,
) -> Damage:
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
    check_attackable(victim)
    checks.one_of("damage", damage, DAMAGES)
    checks.one_of("ancestors", ancestors, ("mean", "sample"))
    bounds = pixels.check_bounds(bounds)
    images = pixels.check_within(images, victim.image_shape, bounds)
    seed = checks.seed("seed", seed)
    noise = None if ancestors == "mean" else scoring.draw(victim, draws, seed + 1, scoring.ATTACKS)
    end, measure = _measures(victim, damage, noise)
    size = checks.positive_integer("chunk_size", chunk_size)
    ends = in_batches(Compiled(end), images, size=size)
    surrogate, initial = surrogate_of(victim), None
    if surrogate is not None:
        initial = maximum_damage(
            surrogate,
            images,
            radius,
            damage,
            bounds=bounds,
            steps=steps,
            starts=starts,
            seed=seed,
            chunk_size=size,
        ).distortion
    found = maximize_in_ball(
        measure,
        images,
        radius,
        ends,
        bounds,
        steps,
        starts,
        seed,
        initial=initial,
        chunk_size=size,
    )
    adversarial = np.clip(images + found.distortion, *bounds)
    fresh = found.value
    if noise is not None:
        noise = scoring.draw(victim, scoring.DRAWS, seed + 1)
        end, measure = map(Compiled, _measures(victim, damage, noise))
        fresh = in_batches(
            lambda images, moved: measure(moved, end(images)), images, adversarial, size=size
        )
    damages = np.stack([found.value, found.first_value, fresh])
    if not np.all(np.isfinite(damages)):
        raise checks.invalid("victim", "finite posteriors and reconstructions", "a damage is not")
    if damage == "reconstruction":
        damages = np.sqrt(damages)
    return Damage(
        adversarial,
        found.distortion,
        l2_norms(found.distortion),
        *damages,
    )


def _measures(victim, damage, noise):
    """Two functions: of images, their end; of images and the ends of others, the damage, (b,)."""
    if damage == "latent_kl":
        goal, layers = objectives.find(damage), range(len(victim.latent_dims))
        return (
            lambda images: goal.prepare(victim, images, noise),
            lambda images, ends: goal.divergence(victim, images, ends, noise, layers),
        )
    draws = 1 if noise is None else noise[0].shape[0]

    def decoded(images):
        drawn = latents(victim.posteriors(images, noise), noise)
        return tf.reshape(victim.decode(drawn), [tf.shape(images)[0], -1])

    def shift(images, ends):
        return tf.reduce_sum(tf.square(decoded(images) - ends), axis=1) / draws

    return decoded, shift
