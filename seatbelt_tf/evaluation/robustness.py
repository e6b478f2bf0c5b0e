"""What a battery of attacks found, in one number a pair: the unit of replication is the pair."""

from collections.abc import Mapping

import numpy as np

from seatbelt_tf.evaluation import distortion


def by_pair(records: Mapping[str, np.ndarray], blending: np.ndarray) -> dict[str, np.ndarray]:
    """Every measure of a battery, averaged over λ where it depends on it.

    Args:
        records: see `attacks.battery.Battery.records`.
        blending: (P, K), see `distortion.blending_shares`.

    Returns:
        Dict of (P,) float64 arrays, the measures that compare models first:
        area_above_blending, attack_area, blending_area: see `distortion`;
        norm_to_half: ‖d‖₂ / ‖x_t − x‖₂ at which half the gap is closed;
        closed_share: share of the gap closed;
        target_loss, floor, ceiling: −log p(x_t | z*) attacked, of the target's own reconstruction,
        and unattacked (nats);
        relative_loss: Δ divided by the absolute value of that of d = 0, at least 1e-12;
        loss: Δ as in the paper's figures, which at large λ is the unattacked divergence, and grows
        with the number of layers and units;
        divergence: its part without λ‖d‖₂;
        evaluations. A measure that a pair does not have (no gap) is NaN.
    """
    attack, blended = distortion.areas(records, blending)
    found = {
        "area_above_blending": attack - blended,
        "attack_area": attack,
        "blending_area": blended,
        "norm_to_half": distortion.norms_to_close(records, blending, share=0.5),
    }
    unattacked = np.maximum(np.abs(records["unattacked_divergence"]), 1e-12)
    by_attack = {
        **{name: records[name] for name in ("closed_share", "target_loss", "floor", "ceiling")},
        "relative_loss": records["loss"] / unattacked,
        **{name: records[name] for name in ("loss", "divergence", "evaluations")},
    }
    pairs = range(len(blending))
    for name, values in by_attack.items():
        rows = [values[records["pair"] == pair] for pair in pairs]
        found[name] = np.array([_mean(row) for row in rows])
    return found


def _mean(values):
    finite = values[np.isfinite(values)]
    return float(np.mean(finite, dtype=np.float64)) if len(finite) else np.nan
