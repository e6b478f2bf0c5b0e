"""How much of the way to the target a distortion of a given size goes: the distortion curve.

Of one pair (x, x_t), the share of the gap from the unattacked x's −log p(x_t | z) to the target's
own (`attacks.Score.closed_share`) against ‖d‖₂ / ‖x_t − x‖₂, along the attack's λ path: a running
maximum from (0, 0) to (1, 1), linear in between (Gondim-Ribeiro et al. 2018 use the same idea). Its
area does not depend on λ's scale, the number of latents or β, so that it compares models.

Mixing the target in, x + r (x_t − x), needs no attack at all: the blending curve. For an exact
linear autoencoder its share is 1 − (1 − r)², its area 2/3. The attack's area minus the blending's
is what being adversarial buys.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from seatbelt_tf import checks
from seatbelt_tf.attacks import scoring

BLENDING_RATIOS = np.linspace(0.0, 1.0, 21)
RAY_NORMS = np.linspace(0.05, 0.95, 19)


def distortion_curve(
    relative_norms: ArrayLike, closed_shares: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Corners of one pair's distortion curve.

    Args:
        relative_norms: (W,) ‖d‖₂ / ‖x_t − x‖₂ of the pair's attacks, in any order; those above 1
            say nothing, since the target itself is at 1.
        closed_shares: (W,) shares of the gap closed; NaN is left out.

    Returns:
        (norms, shares), rising from (0, 0) to (1, 1), both (K,) float64.

    Raises:
        ValueError: the two are not of the same shape (W,).
    """
    norms, shares = (np.asarray(array, np.float64) for array in (relative_norms, closed_shares))
    if norms.ndim != 1 or norms.shape != shares.shape:
        raise checks.invalid(
            "closed_shares.shape", f"(W,), as relative_norms {norms.shape}", shares.shape
        )
    counted = np.isfinite(shares) & (norms <= 1)
    order = np.argsort(norms[counted], kind="stable")
    norms = np.concatenate([[0.0], norms[counted][order], [1.0]])
    shares = np.concatenate([[0.0], np.clip(shares[counted][order], 0.0, 1.0), [1.0]])
    return norms, np.maximum.accumulate(shares)


def area(curve: tuple[np.ndarray, np.ndarray]) -> float:
    """Area under a curve of `distortion_curve`, two (K,): a float between 0 and 1."""
    norms, shares = curve
    return float(np.trapezoid(shares, norms))


def share_at(
    curve: tuple[np.ndarray, np.ndarray], norms: np.ndarray | Sequence[float]
) -> np.ndarray:
    """The curve at given relative norms: (k,) -> (k,)."""
    return np.interp(norms, *curve)


def norm_to_close(curve: tuple[np.ndarray, np.ndarray], share: float = 0.5) -> float:
    """The least relative norm at which the curve reaches a share: a float, NaN of an unknown curve.

    Args:
        curve: two (K,), see `distortion_curve`.
        share: between 0 and 1.

    Raises:
        ValueError: a share that is not between 0 and 1.
    """
    norms, shares = curve
    if not 0 <= share <= 1:
        raise checks.invalid("share", "a number between 0 and 1", share)
    if np.isnan(shares[-1]):
        return np.nan
    first = int(np.argmax(shares >= share))
    if first == 0:
        return float(norms[0])
    low, high = shares[first - 1], shares[first]
    return float(np.interp(share, (low, high), norms[first - 1 : first + 1]))


def blending_shares(scorer: scoring.Scorer, images: ArrayLike, targets: ArrayLike) -> np.ndarray:
    """Shares of the gap closed by mixing the target in: x + r (x_t − x), r in `BLENDING_RATIOS`.

    Args:
        scorer: `attacks.Scorer` of the victim.
        images: (P, H, W, C) images x.
        targets: (P, H, W, C) targets x_t.

    Returns:
        (P, K); NaN where there is no gap.
    """
    images, targets = (np.asarray(array, np.float32) for array in (images, targets))
    count = len(BLENDING_RATIOS)
    ratios = np.asarray(BLENDING_RATIOS, np.float32)[None, :, None, None, None]
    blended = images[:, None] + ratios * (targets - images)[:, None]
    score = scorer(
        np.repeat(images, count, axis=0),
        np.repeat(targets, count, axis=0),
        blended.reshape(-1, *images.shape[1:]),
    )
    return score.closed_share.reshape(len(images), count)


def scaled_down(
    scorer: scoring.Scorer,
    images: np.ndarray,
    targets: np.ndarray,
    records: Mapping[str, np.ndarray],
    norms: np.ndarray = RAY_NORMS,
) -> dict[str, np.ndarray]:
    """The attacks of a battery made smaller: x + s d, 0 < s < 1, which an attacker may always do.

    λ paths leave gaps: where the divergence is nearly quadratic, as for a linear encoder, all λ
    but one or two end with nearly the same d, or without any.

    Args:
        scorer: `attacks.Scorer` of the victim, which scored the records.
        images: (P, H, W, C) images x.
        targets: (P, H, W, C) targets x_t.
        records: see `areas`; also "adversarial" (B, H, W, C), "floor" and "ceiling".
        norms: (K,) ‖s d‖₂ / ‖x_t − x‖₂ to which every attack larger than that is scaled. Of a
            pair's attacks whose norms are within 2 % of each other one is taken.

    Returns:
        Records of the smaller attacks, with the fields that `areas` names.
    """
    relative = relative_norms(records)
    attacks: list[np.integer] = []
    sizes: list[float] = []
    for pair in range(len(images)):
        last = np.inf
        for row in sorted(np.flatnonzero(records["pair"] == pair), key=lambda row: -relative[row]):
            if 0 < relative[row] < 0.98 * last:
                last = relative[row]
                smaller = norms[norms < last]
                attacks += [row] * len(smaller)
                sizes += (smaller / last).tolist()
    rows, scales = np.array(attacks, int), np.array(sizes, np.float32)
    pairs = records["pair"][rows]
    distortions = records["adversarial"][rows] - images[pairs]
    shrunk = images[pairs] + scales[:, None, None, None] * distortions
    loss = scorer.target_loss(shrunk, targets[pairs]) if len(rows) else np.zeros(0)
    return {
        "pair": pairs,
        "distortion_norm": scales * records["distortion_norm"][rows],
        "target_distance": records["target_distance"][rows],
        "closed_share": scoring.closed_share(
            loss, records["floor"][rows], records["ceiling"][rows]
        ),
    }


def curves(
    records: Mapping[str, np.ndarray], blending: np.ndarray, norms: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Distortion curves of all pairs of a battery at common relative norms.

    Args:
        records: see `areas`.
        blending: see `areas`.
        norms: (K,) relative norms.

    Returns:
        (attack, blending), (P', K) each, of the P' pairs that have a gap.
    """
    pairs = [pair for pair in _pairs(records, blending) if pair]
    return tuple(
        np.array([share_at(pair[kind], norms) for pair in pairs]).reshape(len(pairs), len(norms))
        for kind in (0, 1)
    )


def areas(records: Mapping[str, np.ndarray], blending: np.ndarray) -> tuple[np.ndarray, ...]:
    """Areas of every pair of a battery under the attack's and the blending's curve.

    Args:
        records: dict with "pair", "distortion_norm", "target_distance" and "closed_share", (B,).
        blending: (P, K), see `blending_shares`.

    Returns:
        (attack, blending), (P,) each, NaN for pairs without a gap.
    """
    found = [
        [area(curve) for curve in pair] if pair else [np.nan, np.nan]
        for pair in _pairs(records, blending)
    ]
    return tuple(np.array(found).T)


def relative_norms(records: Mapping[str, np.ndarray]) -> np.ndarray:
    """‖d‖₂ / ‖x_t − x‖₂ of every attack, 0 where the target is the image: (B,).

    Args:
        records: see `areas`.
    """
    norms, distances = records["distortion_norm"], records["target_distance"]
    return np.divide(norms, distances, out=np.zeros(len(norms)), where=distances > 0)


def strongest_within(records: Mapping[str, np.ndarray], norm: float) -> np.ndarray:
    """Of each pair the attack that closes most of the gap with ‖d‖₂ ≤ norm · ‖x_t − x‖₂.

    Args:
        records: see `areas`.
        norm: relative to the distance of input and target.

    Returns:
        (P,) rows of the records; where no attack is that small, that of the pair's smallest.
    """
    relative = relative_norms(records)
    shares = np.nan_to_num(records["closed_share"], nan=-np.inf)
    found = []
    for pair in np.unique(records["pair"]):
        rows = np.flatnonzero(records["pair"] == pair)
        within = rows[relative[rows] <= max(norm, relative[rows].min())]
        found.append(within[np.argmax(shares[within])])
    return np.array(found)


def norms_to_close(
    records: Mapping[str, np.ndarray], blending: np.ndarray, share: float = 0.5
) -> np.ndarray:
    """The least relative norm at which each pair's attack reaches a share: (P,), NaN without gap.

    Args:
        records: see `areas`.
        blending: see `areas`.
        share: between 0 and 1.
    """
    found = _pairs(records, blending)
    return np.array([norm_to_close(pair[0], share) if pair else np.nan for pair in found])


def _pairs(records, blending):
    """The attack's and the blending's curve of every pair, None where there is no gap."""
    relative = relative_norms(records)
    found = []
    for pair, shares in enumerate(blending):
        rows = records["pair"] == pair
        closed = records["closed_share"][rows]
        has_gap = not np.all(np.isnan(closed))
        found.append(
            (distortion_curve(relative[rows], closed), distortion_curve(BLENDING_RATIOS, shares))
            if has_gap
            else None
        )
    return found
