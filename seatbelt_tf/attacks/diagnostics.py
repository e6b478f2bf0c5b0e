"""Signs that an attack's result must not be trusted as evidence of robustness.

Each check is a function of a battery's results; `Battery.diagnose` runs them all. A check that
fires does not say that the victim is weak, only that this attack does not show that it is strong.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from seatbelt_tf import pixels
from seatbelt_tf.attacks.attack import AttackResult
from seatbelt_tf.attacks.box_result import Status

# Shares of attacks, or relative differences, from which a check fires.
LARGEST_SHARE = 0.1
LARGEST_SHARE_RESTARTED = 0.25
LARGEST_GAIN = 0.05
# Share of the divergence at d = 0 that is as good as nothing.
NEGLIGIBLE = 1e-3
LARGEST_NOISE = 1e-4


class Diagnosis(NamedTuple):
    """One check.

    Attributes:
        name: what was looked at.
        value: the number found.
        limit: above which it fires.
        fired: whether it did.
        meaning: what that would mean, for a person.
    """

    name: str
    value: float
    limit: float
    fired: bool
    meaning: str

    def as_json(self) -> dict[str, Any]:
        """All of it as a dict for JSON, which has no NaN: null where the value is not finite."""
        return {**self._asdict(), "value": self.value if math.isfinite(self.value) else None}


def _diagnosis(name, value, limit, meaning):
    value = float(value)
    return Diagnosis(name, value, limit, not value <= limit, meaning)


def not_finite(result: AttackResult) -> Diagnosis:
    """Share of attacks in which Δ or its gradient was not finite at the start."""
    return _diagnosis(
        "not_finite",
        np.mean(result.status == Status.NOT_FINITE),
        0.0,
        "the victim returns NaN or infinity",
    )


def not_monotone_in_weight(
    result: AttackResult, weights: np.ndarray, pair_ids: np.ndarray
) -> Diagnosis:
    """Share of neighbours on a λ path at which the minimal Δ falls as λ grows (it cannot).

    Args:
        result: an `AttackResult`.
        weights: (B,) λ.
        pair_ids: (B,) integers, equal for the same images and targets.
    """
    falls = []
    for pair in np.unique(pair_ids):
        rows = np.flatnonzero(pair_ids == pair)
        losses = result.loss[rows[np.argsort(weights[rows])]]
        falls.extend(np.diff(losses) < -LARGEST_GAIN * np.abs(losses[1:]))
    return _diagnosis(
        "not_monotone_in_weight",
        np.mean(falls) if falls else 0.0,
        0.05,
        "better minima exist than were found: use restarts or warm starts along λ",
    )


def restart_gain(result: AttackResult) -> Diagnosis:
    """Share of attacks that further starts, random or from other λ, lowered noticeably.

    Held against what the first start of each found, see `AttackResult.first_loss`.
    """
    return _diagnosis(
        "restart_gain",
        _share_lower(result.loss, result.first_loss, result.unattacked_divergence),
        LARGEST_SHARE_RESTARTED,
        "the loss has many local minima: use more restarts",
    )


def fresh_draws(result: AttackResult) -> Diagnosis:
    """Median share of what attacks gained that fresh draws take away.

    Gains are held against each other, not what is left: the divergence of ancestors at their means,
    which have no noise to fit, differs from that of draws. Only attacks that lowered the divergence
    noticeably are counted.
    """
    gain = result.unattacked_divergence - result.divergence
    counted = gain > NEGLIGIBLE * np.abs(result.unattacked_divergence)
    fresh = result.unattacked_fresh_divergence - result.fresh_divergence
    lost = (gain - fresh)[counted] / gain[counted]
    return _diagnosis(
        "fresh_draws",
        np.median(lost) if lost.size else 0.0,
        LARGEST_SHARE,
        "the attack fits its own noise: average over more draws of the ancestors",
    )


def weaker_than_blending(attack_area: np.ndarray, blending_area: np.ndarray) -> Diagnosis:
    """Share of pairs of which mixing the target in closes more of the gap than the attack.

    Args:
        attack_area: (P,) see `evaluation.distortion`; NaN of pairs without a gap.
        blending_area: (P,).
    """
    has_gap = np.isfinite(attack_area)
    weaker = attack_area[has_gap] < blending_area[has_gap] - NEGLIGIBLE
    return _diagnosis(
        "weaker_than_blending",
        np.mean(weaker) if weaker.size else 0.0,
        LARGEST_SHARE,
        "there are better distortions: use more weights, restarts or another objective",
    )


def gradient_checks(
    divergence_and_gradient: Callable[[tf.Tensor], tuple[ArrayLike, ArrayLike]],
    images: ArrayLike,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> list[Diagnosis]:
    """Checks of the divergence's gradient at and around the unattacked images.

    Args:
        divergence_and_gradient: (B, H, W, C) -> (B,) values and (B, H, W, C) gradients.
        images: (B, H, W, C) unattacked images.
        bounds: (lower, upper) of the pixels.

    Returns:
        Four `Diagnosis`: gradients that are zero or not finite, a function that is not
        deterministic, values that move without the gradient saying so (masked gradients), and
        gradients along which the function does not move as they say (misleading ones).
    """
    images, bounds = np.asarray(images, np.float32), pixels.check_bounds(bounds)
    width = bounds[1] - bounds[0] if np.all(np.isfinite(bounds)) else 2.0

    def value_and_gradient(points):
        found = divergence_and_gradient(tf.constant(points))
        return [np.asarray(array, np.float64) for array in found]

    value, gradient = value_and_gradient(images)
    again, _ = value_and_gradient(images)
    norms = np.sqrt(np.sum(np.square(gradient), axis=(1, 2, 3)))
    noise = np.abs(again - value) / np.maximum(np.abs(value), 1e-12)
    return [
        _diagnosis(
            "zero_or_infinite_gradients",
            np.mean((norms == 0) | ~np.isfinite(norms)),
            0.0,
            "the attacker is blind: the victim's gradient is masked",
        ),
        _diagnosis(
            "not_deterministic",
            np.max(noise),
            LARGEST_NOISE,
            "two evaluations at one point differ: a quasi-Newton method fails on noise",
        ),
        _diagnosis(
            "masked_gradients",
            np.mean(_is_masked(value_and_gradient, images, bounds, width, value, norms)),
            0.0,
            "the divergence moves where its gradient says that it does not",
        ),
        _diagnosis(
            "misleading_gradients",
            np.mean(_is_misleading(value_and_gradient, images, bounds, width, value, gradient)),
            LARGEST_SHARE,
            "along its gradient the divergence does not move as that says",
        ),
    ]


def _is_masked(value_and_gradient, images, bounds, width, value, norms):
    """Whether a random shift does a thousand times what it would to a linear function: (B,) bool.

    To a linear function of gradient g a shift of ±s at every pixel does s ‖g‖₂, typically.
    """
    size = 0.025 * width
    shift = np.random.default_rng(0).choice([-size, size], images.shape)
    moved, _ = value_and_gradient(np.clip(images + shift, *bounds).astype(np.float32))
    return np.abs(moved - value) > 1000 * size * norms + 1e-3 * np.abs(value)


def _is_misleading(value_and_gradient, images, bounds, width, value, gradient):
    """Whether a small step against the gradient changes the value otherwise than by it: (B,) bool.

    The step is to lower the value by a thousandth, and is as long as one of 0.0005 of the bounds'
    width at every pixel at most, of a millionth at least, which float32 tells apart. The value may
    change by half as much or half as much again; 1e-5 of it may be rounding.
    """
    lower, upper = bounds
    is_held = ((images <= lower) & (gradient > 0)) | ((images >= upper) & (gradient < 0))
    descent = np.where(is_held | ~np.isfinite(gradient), 0.0, -gradient)
    norms = np.sqrt(np.sum(np.square(descent), axis=(1, 2, 3)))
    shortest, longest = (share * width * np.sqrt(images[0].size) for share in (1e-6, 0.0005))
    lengths = np.clip(1e-3 * np.abs(value) / np.maximum(norms, 1e-30), shortest, longest)
    steps = (lengths / np.maximum(norms, 1e-30))[:, None, None, None] * descent
    points = np.clip(images + steps, lower, upper).astype(np.float32)
    promised = -np.sum(descent * (np.float64(points) - images), axis=(1, 2, 3))
    change = value_and_gradient(points)[0] - value
    return np.abs(change - promised) > 0.5 * np.abs(promised) + 1e-5 * np.abs(value)


def _share_lower(other_loss, loss, unattacked):
    """Share of attacks in which another loss is lower by more than what may be neglected."""
    negligible = LARGEST_GAIN * np.abs(loss) + NEGLIGIBLE * np.abs(unattacked)
    return np.mean(other_loss < loss - negligible)


def not_converged(
    loss: np.ndarray, continued_loss: np.ndarray, unattacked: np.ndarray
) -> Diagnosis:
    """Share of attacks whose Δ falls when they are given all of `max_evaluations` again.

    The minimiser's status is no measure: in float32 few attacks reach a projected gradient of 0,
    and at small λ they go on lowering a Δ of which next to nothing is left.

    Args:
        loss: (b,) Δ of the attacks checked.
        continued_loss: (b,) Δ after going on.
        unattacked: (b,) divergence at d = 0.
    """
    return _diagnosis(
        "not_converged",
        _share_lower(continued_loss, loss, unattacked),
        LARGEST_SHARE,
        "the minimiser was stopped too early: allow more evaluations",
    )


def first_order_attack_better(
    loss: np.ndarray, other_loss: np.ndarray, unattacked: np.ndarray
) -> Diagnosis:
    """Share of attacks that projected Adam, given all of `max_evaluations`, solved better.

    Args:
        loss: (b,) Δ of the attacks checked.
        other_loss: (b,) Δ that the other method reached.
        unattacked: (b,) divergence at d = 0.
    """
    return _diagnosis(
        "first_order_attack_better",
        _share_lower(other_loss, loss, unattacked),
        LARGEST_SHARE,
        "a simpler attack is stronger: do not trust this one",
    )


def diagnose(result: AttackResult, weights: ArrayLike, pair_ids: ArrayLike) -> list[Diagnosis]:
    """All checks that need the results alone.

    Args:
        result: an `AttackResult`.
        weights: (B,) λ.
        pair_ids: (B,) integers, equal for the same images and targets.

    Returns:
        List of `Diagnosis`.
    """
    weights, pair_ids = np.asarray(weights), np.asarray(pair_ids)
    return [
        not_finite(result),
        not_monotone_in_weight(result, weights, pair_ids),
        restart_gain(result),
        fresh_draws(result),
    ]
