"""Distortion curves with known areas, and intervals against theory."""

import tracemalloc

import numpy as np
import pytest
import victims
from scipy import stats

from seatbelt_tf import attacks
from seatbelt_tf.evaluation import distortion, intervals

EXACT = victims.Copy(1e-6)
RATIOS = distortion.BLENDING_RATIOS


def _pairs(count=3):
    return np.random.default_rng(0).uniform(-1, 1, (2, count, 4, 4, 1)).astype(np.float32)


def test_blending_in_an_exact_linear_autoencoder_has_an_area_of_two_thirds():
    images, targets = _pairs()
    shares = distortion.blending_shares(attacks.Scorer(EXACT), images, targets)
    np.testing.assert_allclose(shares, np.tile(1 - (1 - RATIOS) ** 2, (3, 1)), atol=1e-4)
    for row in shares:
        area = distortion.area(distortion.distortion_curve(RATIOS, row))
        # Twenty trapezia of a parabola miss h²/6.
        assert area == pytest.approx(2 / 3 - 0.05**2 / 6, abs=1e-4)


def test_an_attack_that_only_blends_is_worth_nothing_above_blending():
    images, targets = _pairs()
    shares = distortion.blending_shares(attacks.Scorer(EXACT), images, targets)
    distance = np.linalg.norm((targets - images).reshape(3, -1), axis=1)
    records = {
        "pair": np.repeat(np.arange(3), len(RATIOS)),
        "distortion_norm": np.outer(distance, RATIOS).ravel(),
        "target_distance": np.repeat(distance, len(RATIOS)),
        "closed_share": shares.ravel(),
    }
    attack, blending = distortion.areas(records, shares)
    np.testing.assert_allclose(attack, blending, atol=1e-6)
    records["closed_share"] = np.where(records["pair"] == 1, np.nan, records["closed_share"])
    attack, blending = distortion.areas(records, shares)
    np.testing.assert_array_equal(np.isnan(attack), [False, True, False])


def test_attacks_scaled_down_fill_what_a_path_leaves_out():
    images, targets = _pairs()
    scorer = attacks.Scorer(EXACT)
    # Two attacks that differ by 1 %, one that does nothing: all of the way, nothing between.
    steps = np.array([1.0, 0.99, 0.0], np.float32)
    pair = np.repeat(np.arange(3), 3)
    steps = np.tile(steps, 3)[:, None, None, None]
    adversarial = images[pair] + steps * (targets - images)[pair]
    distances = np.linalg.norm((targets - images).reshape(3, -1), axis=1)[pair]
    records = {
        "pair": pair,
        "adversarial": adversarial,
        "distortion_norm": distances * steps.ravel(),
        "target_distance": distances,
        **scorer(images[pair], targets[pair], adversarial)._asdict(),
    }
    blending = distortion.blending_shares(scorer, images, targets)
    attack, blended = distortion.areas(records, blending)
    np.testing.assert_allclose(attack, 0.5, atol=0.01)
    smaller = distortion.scaled_down(scorer, images, targets, records)
    assert len(smaller["pair"]) == 3 * len(distortion.RAY_NORMS)
    both = {name: np.concatenate([records[name], smaller[name]]) for name in smaller}
    attack, blended = distortion.areas(both, blending)
    np.testing.assert_allclose(attack, blended, atol=1e-4)


def test_nothing_is_scaled_down_where_nothing_was_found():
    images, targets = _pairs(1)
    records = {
        "pair": np.array([0]),
        "adversarial": images,
        "distortion_norm": np.zeros(1),
        "target_distance": np.ones(1),
        "floor": np.zeros(1),
        "ceiling": np.ones(1),
        "closed_share": np.zeros(1),
    }
    smaller = distortion.scaled_down(attacks.Scorer(EXACT), images, targets, records)
    assert all(len(values) == 0 for values in smaller.values())


def test_the_strongest_attack_within_a_size_is_found_for_every_pair():
    records = {
        "pair": np.array([0, 0, 0, 1, 1, 1, 2, 2, 3]),
        "distortion_norm": np.array([2.0, 1.0, 0.4, 1.0, 0.5, 1.2, 9.0, 8.0, 0.0]),
        "target_distance": np.array([2.0] * 8 + [0.0]),
        "closed_share": np.array([0.9, 0.6, 0.7, 0.2, np.nan, 0.8, 0.4, 0.1, np.nan]),
    }
    # The third pair has nothing that small; the fourth is one image twice.
    assert distortion.strongest_within(records, 0.5).tolist() == [2, 3, 7, 8]
    assert distortion.strongest_within(records, 1.0).tolist() == [0, 5, 7, 8]
    assert distortion.strongest_within(records, 0.25).tolist() == [2, 4, 7, 8]


def test_a_curve_is_a_running_maximum_from_the_origin_to_the_target():
    norms, shares = distortion.distortion_curve(
        [0.5, 0.25, 0.75, 2.0, 0.1], [0.4, 0.6, 0.9, 1.5, np.nan]
    )
    np.testing.assert_allclose(norms, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(shares, [0, 0.6, 0.6, 0.9, 1])
    curve = norms, shares
    # Trapezia by hand: (0 + .6)/8 + .6/4 + (.6 + .9)/8 + (.9 + 1)/8.
    assert distortion.area(curve) == pytest.approx(0.65)
    assert distortion.norm_to_close(curve, 0.3) == pytest.approx(0.125)
    assert distortion.norm_to_close(curve, 0.6) == pytest.approx(0.25)
    assert distortion.norm_to_close(curve, 0.75) == pytest.approx(0.625)
    assert np.isnan(distortion.norm_to_close((norms, shares * np.nan), 0.75))
    with pytest.raises(ValueError, match="between 0 and 1"):
        distortion.norm_to_close(curve, 1.5)
    np.testing.assert_allclose(distortion.share_at(curve, [0.125, 0.5]), [0.3, 0.6])


def test_the_curves_of_a_battery_leave_out_pairs_without_a_gap():
    records = {
        "pair": np.array([0, 0, 1, 2]),
        "distortion_norm": np.array([1.0, 2.0, 1.0, 0.0]),
        "target_distance": np.array([4.0, 4.0, 2.0, 0.0]),
        "closed_share": np.array([0.5, 0.75, np.nan, np.nan]),
    }
    blending = np.tile(RATIOS, (3, 1))
    blending[1:] = np.nan
    np.testing.assert_array_equal(distortion.relative_norms(records), [0.25, 0.5, 0.5, 0.0])
    attack, mixed = distortion.curves(records, blending, np.array([0.25, 0.375, 0.75]))
    np.testing.assert_allclose(attack, [[0.5, 0.625, 0.875]])
    np.testing.assert_allclose(mixed, [[0.25, 0.375, 0.75]])
    found = distortion.norms_to_close(records, blending, share=0.625)
    np.testing.assert_allclose(found, [0.375, np.nan, np.nan])


def test_curves_of_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match=r"closed_shares\.shape"):
        distortion.distortion_curve([0.1, 0.2], [0.3])


def test_bootstrap_intervals_cover_the_mean_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    samples = rng.normal(3.0, 2.0, (300, 40))
    covered = [
        lower <= 3.0 <= upper
        for _, lower, upper in (intervals.bootstrap_interval(sample) for sample in samples)
    ]
    # 95 % less what 40 values cost; the standard error of 300 trials is 1.3 %.
    assert 0.90 <= np.mean(covered) <= 0.98
    mean, lower, upper = intervals.bootstrap_interval(samples[0])
    assert lower < mean < upper
    assert mean == pytest.approx(samples[0].mean())
    assert intervals.bootstrap_interval([2.0]) == (2.0, 2.0, 2.0)


def test_a_proportion_of_all_or_none_is_not_certain():
    exact = stats.binomtest(0, 40).proportion_ci(method="exact")
    none = np.zeros((3, 40), bool)
    np.testing.assert_allclose(intervals.crossed_bootstrap_interval(none), (0, 0, exact.high))
    np.testing.assert_allclose(intervals.bootstrap_interval(~none[0]), (1, 1 - exact.high, 1))
    assert intervals.bootstrap_interval(none[0].astype(float)) == (0, 0, 0)


def test_an_interval_of_many_values_takes_little_memory():
    tracemalloc.start()
    intervals.bootstrap_interval(np.arange(3000.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All resamples at once, with their places, are half a gigabyte.
    assert peak < 2e8


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(([],), "values"), (([np.nan],), "values"), (([[1.0]],), "values"), (([1.0], 1.0), "confid")],
)
def test_bad_values_are_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        intervals.bootstrap_interval(*arguments)


def test_crossed_intervals_are_those_of_pairs_or_seeds_when_the_other_does_not_matter():
    rng = np.random.default_rng(0)
    pairs, seeds = rng.normal(size=40), rng.normal(size=12)
    of_pairs = intervals.crossed_bootstrap_interval(np.tile(pairs, (3, 1)))
    np.testing.assert_allclose(of_pairs, intervals.bootstrap_interval(pairs), atol=0.02)
    of_seeds = intervals.crossed_bootstrap_interval(np.tile(seeds[:, None], (1, 30)))
    np.testing.assert_allclose(of_seeds, intervals.bootstrap_interval(seeds), atol=0.03)


def test_crossed_intervals_cover_the_truth_where_resampling_pairs_alone_does_not():
    rng = np.random.default_rng(1)
    crossed = alone = 0
    for _ in range(60):
        values = rng.normal(size=(10, 1)) + rng.normal(size=(1, 30)) + rng.normal(size=(10, 30))
        _, lower, upper = intervals.crossed_bootstrap_interval(values)
        crossed += lower <= 0 <= upper
        _, lower, upper = intervals.bootstrap_interval(values.mean(axis=0))
        alone += lower <= 0 <= upper
    assert crossed >= 52 > alone


def test_the_interval_of_a_ratio_covers_it_and_is_nothing_without_noise():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(60):
        pairs = rng.normal(1.0, 0.2, 40)
        values = 0.3 * pairs + rng.normal(0.0, 0.05, (1, 40))
        ratio, lower, upper = intervals.crossed_ratio_interval(values, pairs[None])
        assert ratio == pytest.approx(values.mean() / pairs.mean())
        covered += lower <= 0.3 <= upper
    assert covered >= 52
    # What both have in common is resampled alike.
    same = intervals.crossed_ratio_interval(0.3 * pairs[None], pairs[None])
    np.testing.assert_allclose(same, 0.3)


def test_a_ratio_to_what_may_be_nothing_has_no_upper_end():
    # A quarter of the resamples take the second pair alone, whose reference is negative.
    found = intervals.crossed_ratio_interval([[1.0, 1.0]], [[3.0, -1.0]])
    assert found == (1.0, 1 / 3, np.inf)
    # The inner two fifths take both.
    within = intervals.crossed_ratio_interval([[1.0, 1.0]], [[3.0, -1.0]], confidence=0.4)
    assert within == (1.0, 1.0, 1.0)
    with np.errstate(invalid="raise"):
        always = intervals.crossed_ratio_interval([[1.0, 1.0]], [[3.0, -1.0]], confidence=0.999)
    assert always == (1.0, 1 / 3, np.inf)


@pytest.mark.parametrize(
    ("reference", "words"),
    [(np.ones((1, 3)), r"reference\.shape"), (-np.ones((1, 2)), "positive mean")],
)
def test_a_ratio_to_nothing_is_refused(reference, words):
    with pytest.raises(ValueError, match=words):
        intervals.crossed_ratio_interval(np.ones((1, 2)), reference)


@pytest.mark.parametrize("values", [[1.0], [[np.nan]], np.zeros((0, 3))])
def test_crossed_intervals_refuse_what_has_no_seeds_and_pairs(values):
    with pytest.raises(ValueError, match="finite numbers of shape"):
        intervals.crossed_bootstrap_interval(values)
