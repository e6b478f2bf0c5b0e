"""The λ path of a pair: which attacks are solved first, and from whose results the others start."""

import numpy as np

from seatbelt_tf.attacks.problem import Found

# A pair's first attacks are those on every 2^k-th λ, so many of them at least.
_FEWEST_FIRST_WEIGHTS = 6


def keep_better(best, rows, found):
    """Overwrites `best` at `rows` where `found` is lower; evaluations add up."""
    better = found.loss < best.loss[rows]
    for field in Found._fields:
        if field != "evaluations":
            getattr(best, field)[rows[better]] = getattr(found, field)[better]
    best.evaluations[rows] += found.evaluations


def levels(pair_ids, weights):
    """Rows of the attacks to be solved one group after the other, coarse to fine: list of (n,)."""
    if pair_ids is None:
        return [np.arange(len(weights))]
    _, pairs, counts = np.unique(pair_ids, return_inverse=True, return_counts=True)
    by_weight = np.lexsort((weights, pairs))
    places = np.empty(len(weights), int)
    places[by_weight] = np.concatenate([np.arange(count) for count in counts])
    depth = max(0, int(counts.max() // _FEWEST_FIRST_WEIGHTS).bit_length() - 1)
    strides = [2**k for k in range(depth, -1, -1)]
    level = np.argmax([places % stride == 0 for stride in strides], axis=0)
    return [np.flatnonzero(level == k) for k in range(depth + 1)]


def best_of_pair(best, pair_ids, weights, problem):
    """The row of the pair's best result under each attack's own λ, or its own: (B,) int."""
    sources = np.arange(len(weights))
    cost = problem.cost(best.distortion_norm)
    for pair in np.unique(pair_ids) if pair_ids is not None else []:
        members = np.flatnonzero(pair_ids == pair)
        losses = weights[members, None] * cost[members] + best.divergence[members]
        losses = np.where(np.isfinite(losses), losses, np.inf)
        nearest = np.argmin(losses, axis=1)
        # Rounding of the loss in float32 is no reason to start again.
        least = best.loss[members] - 1e-5 * np.abs(best.loss[members])
        is_better = losses[np.arange(len(members)), nearest] < least
        sources[members[is_better]] = members[nearest[is_better]]
    return sources
