"""The measures of a battery, from records written by hand."""

import numpy as np

from seatbelt_tf.evaluation import distortion, robustness

# Two pairs under three λ; the second has no gap to close.
RECORDS = {
    "pair": np.repeat([0, 1], 3),
    "weight": np.tile([0.01, 1.0, 100.0], 2),
    "distortion_norm": np.array([4.0, 2.0, 0.0, 1.0, 1.0, 0.0]),
    "target_distance": np.full(6, 8.0),
    "closed_share": np.array([1.0, 0.6, 0.0, np.nan, np.nan, np.nan]),
    "target_loss": np.array([10.0, 20.0, 30.0, 5.0, 5.0, 5.0]),
    "floor": np.full(6, 8.0),
    "ceiling": np.full(6, 40.0),
    "loss": np.array([1.0, 4.0, 10.0, 2.0, 2.0, np.nan]),
    "divergence": np.array([0.5, 3.0, 10.0, 1.0, 1.0, 4.0]),
    "unattacked_divergence": np.array([10.0, 10.0, 10.0, 4.0, 4.0, 4.0]),
    "evaluations": np.array([4, 6, 8, 1, 1, 1]),
}
BLENDING = np.stack([distortion.BLENDING_RATIOS, np.full(21, np.nan)])


def test_measures_of_a_pair_are_those_counted_by_hand():
    found = robustness.by_pair(RECORDS, BLENDING)
    # Corners (0, 0), (0, 0), (0.25, 0.6), (0.5, 1), (1, 1) of the attack; the diagonal of blending.
    area = 0.25 * 0.3 + 0.25 * 0.8 + 0.5
    expected = {
        "attack_area": area,
        "blending_area": 0.5,
        "area_above_blending": area - 0.5,
        "norm_to_half": 0.25 * 0.5 / 0.6,
        "closed_share": 1.6 / 3,
        "target_loss": 20.0,
        "floor": 8.0,
        "ceiling": 40.0,
        "loss": 5.0,
        "relative_loss": 0.5,
        "divergence": 4.5,
        "evaluations": 6.0,
    }
    assert {name: round(float(values[0]), 12) for name, values in found.items()} == {
        name: round(value, 12) for name, value in expected.items()
    }


def test_a_pair_without_a_gap_has_no_area_and_lost_attacks_do_not_count():
    found = robustness.by_pair(RECORDS, BLENDING)
    without = {name for name, values in found.items() if np.isnan(values[1])}
    curve = {"attack_area", "blending_area", "area_above_blending", "norm_to_half"}
    assert without == curve | {"closed_share"}
    assert found["loss"][1] == 2.0
    assert found["relative_loss"][1] == 0.5
