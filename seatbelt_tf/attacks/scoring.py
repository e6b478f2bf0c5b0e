"""What an attack achieved, measured afresh: not with the draws that the attacker minimised over."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from seatbelt_tf import checks, pixels
from seatbelt_tf.attacks import objectives
from seatbelt_tf.attacks.compiled import Compiled
from seatbelt_tf.attacks.victim import Attackable, Decodable, latents
from seatbelt_tf.batches import in_batches

SCORED_AT_ONCE = 64
# That scores are averaged over.
DRAWS = 16
# What draws are for.
SCORES, ATTACKS = range(2)
# A gap below this share of ceiling or floor, sums of thousands in float32, is one of rounding.
RESOLUTION = 1e-5


class Score(NamedTuple):
    """How far reconstructions went to the target; every field is (B,), the first three in nats.

    Attributes:
        target_loss: −log p(x_t | z*), z* ~ q(z | x + d), averaged over fresh draws.
        floor: the same with z* ~ q(z | x_t): the target's own reconstruction.
        ceiling: the same with z* ~ q(z | x): no attack.
        closed_share: (ceiling − target_loss) / (ceiling − floor), the share of the gap closed;
            NaN where the ceiling is not above the floor by more than rounding.
    """

    target_loss: np.ndarray
    floor: np.ndarray
    ceiling: np.ndarray
    closed_share: np.ndarray


class FreshDivergence:
    """The divergence part of Δ averaged over draws of the ancestors that no attack has seen.

    Args:
        victim: see `Attackable`.
        objective: an attack objective's name.
        layers: indices of the attacked layers.
        seed: of the draws.
        draws: how many.
    """

    def __init__(self, victim, objective, layers, seed, draws=DRAWS):
        self._image_shape = victim.image_shape
        goal = objectives.find(objective)
        noise = draw(victim, draws, seed)

        def divergence(images, targets):
            prepared = goal.prepare(victim, targets, noise)
            return goal.divergence(victim, images, prepared, noise, layers)

        self._divergence = Compiled(divergence)

    def __call__(self, images, targets):
        """(B, H, W, C) images, attacked or not, and targets -> (B,) nats or distances, NumPy."""
        return _scored(self._divergence, self._image_shape, images=images, targets=targets)

    def of_pairs(self, images, targets):
        """The same where many rows are the same pair: each is computed once."""
        sources, ends, rows = _distinct(np.asarray(images), np.asarray(targets))
        return self(sources, ends)[rows]


def score(
    victim: Decodable,
    images: ArrayLike,
    targets: ArrayLike,
    adversarial: ArrayLike,
    seed: int = 0,
    draws: int = DRAWS,
) -> Score:
    """−log p(x_t | z*) of attacked images, its floor, its ceiling and the share of the gap closed.

    Args:
        victim: see `Attackable`; it needs a decoder.
        images: (B, H, W, C) unattacked images x.
        targets: (B, H, W, C) targets x_t.
        adversarial: (B, H, W, C) attacked images x + d.
        seed: of the draws of z*, the same for the three.
        draws: how many are averaged.

    Returns:
        `Score`.

    Raises:
        ValueError: the victim has no decoder; images of another shape or type than its own, as many
            of each, or pixels that are not finite.
    """
    return Scorer(victim, seed, draws)(images, targets, adversarial)


class Scorer:
    """`score` set up once and traced once, for several batteries on one victim."""

    def __init__(self, victim: Decodable, seed: int = 0, draws: int = DRAWS) -> None:
        self._image_shape = victim.image_shape
        noise = draw(victim, draws, seed)

        def loss(images, targets):
            drawn = latents(victim.posteriors(images, noise), noise)
            likelihood = victim.log_likelihood(tf.repeat(targets, draws, axis=0), drawn)
            return -tf.reduce_mean(tf.reshape(likelihood, [-1, draws]), axis=1)

        self._loss = Compiled(loss)

    def target_loss(self, images: ArrayLike, targets: ArrayLike) -> np.ndarray:
        """−log p(x_t | z), z ~ q(z | x), averaged over the draws: (B, H, W, C) twice -> (B,)."""
        return _scored(self._loss, self._image_shape, images=images, targets=targets)

    def __call__(self, images: ArrayLike, targets: ArrayLike, adversarial: ArrayLike) -> Score:
        """Arguments of `score` -> `Score`."""
        images, targets, adversarial = _checked(
            self._image_shape, images=images, targets=targets, adversarial=adversarial
        )
        sources, ends, rows = _distinct(images, targets)
        floor, ceiling = (self.target_loss(seen, ends)[rows] for seen in (ends, sources))
        target_loss = self.target_loss(adversarial, targets)
        return Score(target_loss, floor, ceiling, closed_share(target_loss, floor, ceiling))


def closed_share(target_loss: np.ndarray, floor: np.ndarray, ceiling: np.ndarray) -> np.ndarray:
    """The field of `Score` from the others: (B,) three times -> (B,)."""
    gap = ceiling - floor
    is_resolved = gap > RESOLUTION * np.maximum(np.abs(ceiling), np.abs(floor))
    return np.divide(ceiling - target_loss, gap, out=np.full_like(gap, np.nan), where=is_resolved)


def draw(victim: Attackable, draws: int, seed: int, purpose: int = SCORES) -> tuple[tf.Tensor, ...]:
    """Standard normal draws by layer for all images alike: a tuple of (draws, d_i).

    Args:
        victim: see `Attackable`.
        draws: how many.
        seed: of the draws.
        purpose: SCORES or ATTACKS; what attacks are fitted to is never what they are scored with.

    Raises:
        ValueError: `draws` or `seed` out of range.
    """
    draws = checks.positive_integer("draws", draws)
    # Not `checks.seed`: callers add a little to theirs, which may be the largest.
    seed = checks.whole_number("seed", seed)
    keys = tf.random.experimental.stateless_split([seed, purpose], len(victim.latent_dims))
    return tuple(
        tf.random.stateless_normal([draws, units], key)
        for units, key in zip(victim.latent_dims, tf.unstack(keys), strict=True)
    )


def _scored(function, image_shape, **ends):
    return in_batches(function, *_checked(image_shape, **ends), size=SCORED_AT_ONCE)


def _checked(image_shape, **ends):
    """(B, H, W, C) images by name, as float32 arrays of the same B."""
    arrays = [pixels.check_finite(images, image_shape, name) for name, images in ends.items()]
    counts = [len(images) for images in arrays]
    if len(set(counts)) > 1:
        raise checks.invalid(", ".join(ends), "as many images of each", counts)
    return arrays


def _distinct(images, targets):
    """The pairs that differ, and which one each row is: (P, H, W, C) twice and (B,).

    Most batteries attack a pair under many weights: what is of its ends is computed once.
    """
    both = np.stack([images, targets], axis=1)
    pairs, rows = np.unique(both.reshape(len(both), -1), axis=0, return_inverse=True)
    sources, ends = np.moveaxis(pairs.reshape(-1, *both.shape[1:]), 1, 0)
    return sources, ends, rows
