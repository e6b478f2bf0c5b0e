"""Attacks on victims with known answers, on the model itself, and bad input."""

import inspect
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import victims

from seatbelt_tf import SeatbeltVAE, attacks, gaussians, presets
from seatbelt_tf.attacks import diagnostics, objectives, scoring
from seatbelt_tf.attacks.victim import Decodable

SHAPE = (4, 4, 1)


def _pairs(count=6, shape=SHAPE, seed=1, size=0.2):
    rng = np.random.default_rng(seed)
    return rng.uniform(-size, size, (2, count, *shape)).astype(np.float32)


@pytest.mark.parametrize("optimizer", ["lbfgs", "scipy", "tfp"])
def test_squared_norm_attack_on_a_linear_encoder_is_the_ridge_solution(optimizer):
    victim, (images, targets) = victims.Linear(), _pairs()
    weights = np.geomspace(1e-2, 10, 6)
    options = {"squared_norm": True, "optimizer": optimizer}
    result = attacks.attack(victim, images, targets, weights, **options)
    matrix = np.float64(victim.encoder)
    for row in range(6):
        # Minimise λ‖d‖² + ‖Aᵀ(d − t)‖² / (2 s²), t = x_t − x, inside the box (not binding here).
        gap = np.float64(targets[row] - images[row]).ravel()
        gram = matrix @ matrix.T / (2 * victim.stddev**2)
        expected = np.linalg.solve(weights[row] * np.eye(16) + gram, gram @ gap)
        np.testing.assert_allclose(result.distortion[row].ravel(), expected, atol=1e-4)
    np.testing.assert_allclose(
        result.distortion_norm, np.linalg.norm(result.distortion.reshape(6, -1), axis=1), rtol=1e-5
    )
    np.testing.assert_allclose(
        result.loss, weights * result.distortion_norm**2 + result.divergence, rtol=1e-4
    )
    same = attacks.attack(victim, images, images, weights, **options)
    assert np.all(same.status == attacks.Status.OPTIMAL_AT_START)


class InBytes(victims.Linear):
    """The same of pixels from 0 to 255."""

    def mean(self, images):
        return super().mean(images / 127.5 - 1)


@pytest.mark.parametrize("optimizer", ["lbfgs", "scipy"])
def test_a_problem_in_another_box_has_the_same_solution_in_it(optimizer):
    images, targets = _pairs(size=1.0)
    weights = np.geomspace(1e-2, 10, 6)
    usual = attacks.attack(victims.Linear(), images, targets, weights, squared_norm=True)
    # Some of the bounds bind.
    assert np.any(np.abs(usual.adversarial) == 1)
    found = attacks.attack(
        InBytes(),
        *np.clip(127.5 * (np.stack([images, targets]) + 1), 0, 255),
        weights / 127.5**2,
        bounds=(np.float64(0), np.float64(255)),
        squared_norm=True,
        restarts=1,
        optimizer=optimizer,
    )
    assert found.adversarial.dtype == np.float32
    assert found.adversarial.min() == 0
    np.testing.assert_allclose(found.loss, usual.loss, rtol=1e-4)
    np.testing.assert_allclose(found.adversarial / 127.5 - 1, usual.adversarial, atol=1e-3)


def test_random_starts_are_as_far_apart_as_the_box_is_wide(monkeypatch):
    images, targets = _pairs()
    solve, starts = attacks.Attack._solve, []

    def recorded(self, *arrays, **options):
        starts.append(arrays[3])
        return solve(self, *arrays, **options)

    monkeypatch.setattr(attacks.Attack, "_solve", recorded)
    options = {"restarts": 1, "max_evaluations": 1}
    attacks.attack(victims.Linear(), images, targets, np.ones(6), **options)
    ends = 127.5 * (np.stack([images, targets]) + 1)
    attacks.attack(InBytes(), *ends, np.ones(6), bounds=(0, 255), **options)
    _, usual, _, scaled = starts
    assert 0.45 < np.max(np.abs(usual - images)) <= 0.5
    np.testing.assert_allclose(scaled / 127.5 - 1, usual, atol=1e-5)


def test_all_of_the_papers_weights_are_finite_and_never_worse_than_no_attack():
    victim, (images, targets) = victims.Linear(), _pairs(1, size=1.0)
    weights = attacks.paper_weights(50)
    assert (weights[0], weights[-1], len(weights)) == (2**-20, 2**20, 50)
    result = attacks.attack(victim, *(np.repeat(a, 50, 0) for a in (images, targets)), weights)
    for field in result:
        assert np.all(np.isfinite(field))
    assert np.all(result.loss <= result.unattacked_divergence * (1 + 1e-6))
    # The largest weights make any distortion too dear: the norm is not differentiable at 0.
    assert np.all(result.distortion[-10:] == 0)
    assert np.all(result.divergence[:10] < 1e-3 * result.unattacked_divergence[:10])
    assert np.all(np.abs(result.adversarial) <= 1)


def test_attacks_do_not_depend_on_the_others_nor_on_the_chunks():
    victim, (images, targets) = victims.Linear(), _pairs()
    weights = np.geomspace(1e-3, 10, 6)
    together = attacks.attack(victim, images, targets, weights)
    for options in ({"chunk_size": 2}, {"chunk_size": 4}):
        parts = attacks.attack(victim, images, targets, weights, **options)
        np.testing.assert_allclose(parts.adversarial, together.adversarial, atol=1e-5)
    alone = attacks.attack(victim, images[2:3], targets[2:3], weights[2:3])
    np.testing.assert_allclose(alone.adversarial[0], together.adversarial[2], atol=1e-5)


@pytest.fixture(scope="module")
def model():
    return SeatbeltVAE(image_shape=(32, 32, 1), latent_dims=(6, 4, 3), seed=3)


@pytest.mark.parametrize("objective", objectives.names())
@pytest.mark.parametrize("ancestors", ["mean", "sample"])
def test_every_objective_lowers_its_divergence_on_a_hierarchical_model(model, objective, ancestors):
    images, targets = _pairs(3, (32, 32, 1), size=1.0)
    result = attacks.attack(
        model, images, targets, np.full(3, 1e-3), objective, ancestors=ancestors, max_evaluations=40
    )
    assert np.all(result.divergence < result.unattacked_divergence)
    assert np.all(result.evaluations <= 40)


@pytest.mark.parametrize(
    ("objective", "of_squares"),
    [
        ("latent_kl", lambda squares, stddev: squares / (2 * stddev**2)),
        ("latent_w2", lambda squares, stddev: np.sqrt(squares)),
        ("latent_w2_squared", lambda squares, stddev: squares),
    ],
)
def test_of_gaussians_alike_only_the_distance_of_their_means_counts(objective, of_squares):
    victim = victims.Linear(stddev=0.5)
    images, targets = _pairs()
    found, _ = attacks.Attack(victim, objective).divergence_and_gradient(targets)(images)
    shifts = np.float64(images - targets).reshape(6, -1) @ np.float64(victim.encoder)
    expected = of_squares(np.sum(np.square(shifts), axis=1), 0.5)
    # float32 sums of sixteen products.
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_layers_choose_whose_posteriors_are_attacked(model):
    images, targets = _pairs(2, (32, 32, 1), size=1.0)
    by_layer = [
        attacks.Attack(model, layers=layers).divergence_and_gradient(targets)(images)[0]
        for layers in ((0,), (1,), (2,), "all", "bottom", "top")
    ]
    np.testing.assert_allclose(by_layer[3], sum(by_layer[:3]), rtol=1e-5)
    np.testing.assert_array_equal(by_layer[4], by_layer[0])
    np.testing.assert_array_equal(by_layer[5], by_layer[2])


def test_warm_starts_along_a_path_only_improve():
    victim, (images, targets) = victims.Linear(), _pairs(2)
    images, targets = (np.repeat(a, 5, axis=0) for a in (images, targets))
    weights, pairs = np.tile(np.geomspace(1e-3, 1, 5), 2), np.repeat([0, 1], 5)
    options = {"max_evaluations": 4}
    plain = attacks.attack(victim, images, targets, weights, **options)
    warm = attacks.attack(victim, images, targets, weights, pair_ids=pairs, restarts=1, **options)
    np.testing.assert_array_equal(warm.first_loss, plain.loss)
    assert np.all(warm.loss <= plain.loss)
    assert np.any(warm.loss < plain.loss)


def test_a_path_is_searched_from_coarse_to_fine():
    victim, (images, targets) = victims.Linear(), _pairs(2)
    images, targets = (np.repeat(a, 24, axis=0) for a in (images, targets))
    # In no order: what counts is a weight's place in its own pair's path.
    order = np.random.default_rng(0).permutation(48)
    weights = np.tile(np.geomspace(1e-3, 1e3, 24), 2)[order]
    pairs, places = np.repeat([7, 3], 24)[order], np.tile(np.arange(24), 2)[order]
    problem = images[order], targets[order], weights
    found = attacks.attack(victim, *problem, pair_ids=pairs, max_evaluations=16)
    for stride, limit in ((1, 4), (2, 8), (4, 16)):
        chosen = (places % stride == 0) & ((places % (2 * stride) != 0) | (stride == 4))
        # Once at the place in the path, and once more where another λ's result was better.
        assert np.all(found.evaluations[chosen] <= limit + 4)
        assert np.any(found.evaluations[chosen] > limit // 2)
    alone = attacks.attack(victim, *problem)
    path = attacks.attack(victim, *problem, pair_ids=pairs)
    assert np.all(path.loss <= alone.loss + 1e-3 * alone.unattacked_divergence)


class Likely(victims.Linear):
    """The negative ELBO of its images is negative."""

    def log_likelihood(self, images, latents):
        return super().log_likelihood(images, latents) + 1000


def test_the_best_of_a_path_is_not_started_again_whatever_its_sign():
    images, targets = _pairs(3)
    options = {"objective": "output", "max_evaluations": 20}
    plain = attacks.attack(Likely(), images, targets, np.ones(3), **options)
    assert np.all(plain.loss < 0)
    warm = attacks.attack(Likely(), images, targets, np.ones(3), pair_ids=np.arange(3), **options)
    np.testing.assert_array_equal(warm.evaluations, plain.evaluations)


def test_layers_of_an_attack_on_the_whole_model_are_refused(model):
    with pytest.raises(ValueError, match="since output attacks the whole model"):
        attacks.Attack(model, "output", "top")
    attacks.Attack(model, "output", range(3))


def test_a_gap_within_float32s_rounding_is_none():
    floor = np.full(3, 5000.0, np.float32)
    ceiling = floor + np.array([0.01, 0.1, -1], np.float32)
    shares = scoring.closed_share(floor + 50, floor, ceiling)
    assert np.isnan(shares).tolist() == [True, False, True]


def test_score_has_the_targets_reconstruction_as_floor():
    victim, (images, targets) = victims.Linear(), _pairs()
    score = attacks.score(victim, images, targets, targets)
    assert isinstance(score, attacks.Score)
    np.testing.assert_allclose(score.target_loss, score.floor)
    gap = score.ceiling > score.floor
    assert np.any(gap)
    np.testing.assert_allclose(score.closed_share[gap], 1)
    assert np.all(np.isnan(score.closed_share[~gap]))
    unattacked = attacks.score(victim, images, targets, images)
    np.testing.assert_allclose(unattacked.closed_share[gap], 0)


def _keras_encoder():
    inputs = keras.Input((8, 8, 1))
    hidden = keras.layers.Dense(16, activation="tanh")(keras.layers.Flatten()(inputs))
    outputs = [keras.layers.Dense(3)(hidden), keras.layers.Dense(3)(hidden)]
    return keras.Model(inputs, outputs)


def test_any_keras_encoder_is_a_victim_and_a_decoder_allows_output_attacks():
    encoder = _keras_encoder()
    images, targets = _pairs(3, (8, 8, 1), size=1.0)
    victim = attacks.Victim(encoder=encoder)
    assert (victim.image_shape, victim.latent_dims) == ((8, 8, 1), (3,))
    result = attacks.attack(victim, images, targets, np.full(3, 1e-3))
    assert np.all(result.divergence < 0.1 * result.unattacked_divergence)
    mean, log_variance = encoder(images)
    posterior = gaussians.Gaussian(mean, np.exp(log_variance / 2))
    mean, log_variance = encoder(targets)
    target = gaussians.Gaussian(mean, np.exp(log_variance / 2))
    np.testing.assert_allclose(
        result.unattacked_divergence, gaussians.kl(posterior, target), rtol=1e-5
    )
    with pytest.raises(ValueError, match="decoder"):
        attacks.attack(victim, images, targets, np.ones(3), "output")
    decoder = keras.Sequential([keras.layers.Dense(64), keras.layers.Reshape((8, 8, 1))])
    whole = attacks.Victim(encoder=encoder, decoder=decoder, likelihood_scale=0.1)
    output = attacks.attack(whole, images, targets, np.full(3, 1e-3), "output")
    assert np.all(output.divergence < output.unattacked_divergence)


class PlantedVictim(victims.OneLayer):
    """Posteriors jump to the target's along one direction that a distortion of norm 0.1 spans."""

    latent_dims = (3,)

    def __init__(self, is_masked):
        super().__init__(0.05)
        self.is_masked = is_masked
        direction = np.random.default_rng(5).normal(size=16)
        self.direction = tf.constant(direction / np.linalg.norm(direction), tf.float32)

    def mean(self, images):
        along = tf.linalg.matvec(tf.reshape(images, [-1, 16]), self.direction)
        switch = tf.sigmoid(100 * (along - 0.05))
        if self.is_masked:
            switch = tf.round(switch)
        return tf.stack([switch, 1 - switch, switch], axis=1)


def _planted(is_masked):
    victim = PlantedVictim(is_masked)
    direction = victim.direction.numpy().reshape(1, *SHAPE)
    images = np.random.default_rng(6).uniform(-0.5, 0.5, (4, *SHAPE)).astype(np.float32)
    along = np.sum(images * direction, axis=(1, 2, 3), keepdims=True)
    images = np.clip(images - along * direction, -1, 1).astype(np.float32)
    targets = np.clip(images + 0.3 * direction, -1, 1).astype(np.float32)
    return victim, images, targets


def _checks(victim, images, targets):
    function = attacks.Attack(victim).divergence_and_gradient(targets)
    return {check.name: check.fired for check in diagnostics.gradient_checks(function, images)}


def test_a_planted_vulnerability_is_found():
    victim, images, targets = _planted(is_masked=False)
    result = attacks.attack(victim, images, targets, np.full(4, 1.0))
    assert np.all(result.divergence < 0.01 * result.unattacked_divergence)
    assert np.all(result.distortion_norm < 0.2)
    assert not any(_checks(victim, images, targets).values())


def _shattered(gradient):
    return gradient[..., np.random.default_rng(0).permutation(16)]


def _far_too_small(gradient):
    return 1e-5 * gradient


# What a defence may do to a gradient, and the checks that see it.
WRONG_GRADIENTS = {
    "none": (lambda gradient: 0 * gradient, {"zero_or_infinite_gradients", "masked_gradients"}),
    "infinite": (lambda gradient: np.inf * gradient, {"zero_or_infinite_gradients"}),
    "opposite": (lambda gradient: -gradient, {"misleading_gradients"}),
    "shattered": (_shattered, {"misleading_gradients"}),
    "exploding": (lambda gradient: 1000 * gradient, {"misleading_gradients"}),
    "exploding further": (lambda gradient: 1e8 * gradient, {"misleading_gradients"}),
    "opposite and exploding": (lambda gradient: -1e8 * gradient, {"misleading_gradients"}),
    "vanishing": (_far_too_small, {"misleading_gradients", "masked_gradients"}),
    "true": (lambda gradient: gradient, set()),
}


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 255.0)])
@pytest.mark.parametrize("kind", WRONG_GRADIENTS)
def test_gradients_that_are_not_those_of_the_divergence_are_flagged(kind, bounds):
    change, expected = WRONG_GRADIENTS[kind]
    images, targets = _pairs()
    function = attacks.Attack(victims.Linear()).divergence_and_gradient(targets)
    lower, width = bounds[0], bounds[1] - bounds[0]

    def changed(scaled):
        value, gradient = function(2 * (scaled - lower) / width - 1)
        flat = np.reshape(gradient * 2 / width, (len(value), 16))
        with np.errstate(invalid="ignore"):
            return value, np.reshape(change(flat), images.shape)

    scaled = np.float32(lower + width * (images + 1) / 2)
    found = diagnostics.gradient_checks(changed, scaled, bounds)
    # Nothing is known of what infinite gradients promise.
    fired = {check.name for check in found if check.fired}
    assert expected <= fired if kind == "infinite" else fired == expected


def test_a_masked_gradient_is_flagged():
    victim, images, targets = _planted(is_masked=True)
    assert _checks(victim, images, targets)["zero_or_infinite_gradients"]


@pytest.mark.parametrize("restarts", [0, 1])
def test_attacks_on_a_surrogate_transfer(restarts):
    masked, images, targets = _planted(is_masked=True)
    alone = attacks.attack(masked, images, targets, np.full(4, 1.0))
    assert np.all(alone.distortion == 0)
    masked.surrogate = lambda: PlantedVictim(is_masked=False)
    options = {"restarts": restarts, "pair_ids": np.arange(4)}
    result = attacks.attack(masked, images, targets, np.full(4, 1.0), **options)
    # Measured on the victim itself: there the switch is thrown or not.
    assert np.all(result.divergence == 0)
    assert np.all(result.unattacked_divergence == alone.unattacked_divergence)
    assert np.all((result.distortion_norm > 0.0499) & (result.distortion_norm < 0.2))


def test_a_surrogate_that_misleads_is_not_followed():
    victim, (images, targets) = victims.Linear(), _pairs()
    alone = attacks.attack(victim, images, targets, np.full(6, 1e-3))

    class Opposed(victims.Linear):
        def mean(self, images):
            return -super().mean(images)

    victim.surrogate = Opposed
    result = attacks.attack(victim, images, targets, np.full(6, 1e-3))
    np.testing.assert_allclose(result.adversarial, alone.adversarial, atol=1e-5)


def test_a_weaker_attack_than_a_first_order_one_is_flagged():
    victim, images, targets = _planted(is_masked=False)
    adam = attacks.attack(victim, images, targets, np.full(4, 1.0), optimizer="adam")
    assert np.all(adam.divergence < 0.1 * adam.unattacked_divergence)
    for evaluations, expected in ((400, False), (1, True)):
        ours = attacks.attack(victim, images, targets, np.full(4, 1.0), max_evaluations=evaluations)
        assert (
            diagnostics.first_order_attack_better(
                ours.loss, adam.loss, adam.unattacked_divergence
            ).fired
            == expected
        )


def test_an_attack_that_was_stopped_early_is_flagged():
    victim, (images, targets) = victims.Linear(), _pairs()
    problem = (images, targets, np.geomspace(1e-3, 1, 6))
    for evaluations, expected in ((3, True), (100, False)):
        run = attacks.Attack(victim, max_evaluations=evaluations)
        result = run(*problem)
        continued = run.continued_loss(*problem, result.adversarial)
        # Evaluated in a batch of another size, the same point may differ in its last digit.
        assert np.all(continued <= result.loss * (1 + 1e-6))
        check = diagnostics.not_converged(result.loss, continued, result.unattacked_divergence)
        assert check.fired == expected


def test_a_weight_above_the_gradients_norm_makes_no_distortion_the_certified_optimum():
    victim, (images, targets) = victims.Linear(), _pairs()
    _, gradient = attacks.Attack(victim).divergence_and_gradient(targets)(images)
    norms = np.linalg.norm(np.reshape(gradient, (6, -1)), axis=1)
    for factor, expected in ((1.01, True), (0.99, False)):
        result = attacks.attack(victim, images, targets, factor * norms)
        assert np.all((result.status == attacks.Status.OPTIMAL_AT_START) == expected)
        assert np.all((result.distortion_norm == 0) == expected)
        assert np.all((result.projected_gradient_norm == 0) == expected)


def test_a_configured_attack_is_traced_once_for_all_its_calls():
    victim, (images, targets) = victims.Linear(), _pairs()
    traces = []
    seen = victim.posteriors
    victim.posteriors = lambda *arguments: traces.append(1) or seen(*arguments)
    weights = np.geomspace(1e-2, 10, 6)
    run = attacks.Attack(victim)
    first = run(images, targets, weights)
    count = len(traces)
    again = run(images, targets, weights)
    assert len(traces) == count
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_redrawn_ancestors_are_flagged_as_not_deterministic(model):
    images, targets = _pairs(3, (32, 32, 1), size=1.0)
    for ancestors, expected in (("fresh", True), ("sample", False), ("mean", False)):
        function = attacks.Attack(model, ancestors=ancestors).divergence_and_gradient(targets)
        checks = {c.name: c.fired for c in diagnostics.gradient_checks(function, images)}
        assert checks["not_deterministic"] == expected


def test_redrawn_ancestors_are_those_of_the_seed(model):
    images, targets = _pairs(2, (32, 32, 1), size=1.0)

    def values(seed):
        run = attacks.Attack(model, ancestors="fresh", seed=seed)
        return run.divergence_and_gradient(targets)(images)[0]

    np.testing.assert_array_equal(values(1), values(1))
    assert np.all(values(1) != values(2))


def _result(**fields):
    defaults = {name: np.ones(4) for name in attacks.AttackResult._fields if name not in fields}
    usual = {
        "status": np.zeros(4, int),
        "unattacked_divergence": np.full(4, 10.0),
        "unattacked_fresh_divergence": np.full(4, 10.0),
    }
    return attacks.AttackResult(**(defaults | usual | fields))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, set()),
        ({"status": np.array([0, 0, 4, 3])}, {"not_finite"}),
        ({"loss": np.array([1.0, 0.5, 1.0, 1.5])}, {"not_monotone_in_weight"}),
        ({"first_loss": np.full(4, 2.0)}, {"restart_gain"}),
        ({"fresh_divergence": np.full(4, 5.0)}, {"fresh_draws"}),
        # Negative, as of the output attack.
        ({"divergence": np.full(4, -9.0), "fresh_divergence": np.full(4, -5.0)}, {"fresh_draws"}),
        # Draws cost as much before the attack as after it.
        (
            {
                "fresh_divergence": np.full(4, 5.0),
                "unattacked_fresh_divergence": np.full(4, 14.0),
            },
            set(),
        ),
    ],
)
def test_each_check_of_a_battery_fires_on_its_own_fault(fields, expected):
    result, weights, pair_ids = _result(**fields), np.array([1, 2, 1, 2]), np.array([0, 0, 1, 1])
    alone = [
        diagnostics.not_finite(result),
        diagnostics.not_monotone_in_weight(result, weights, pair_ids),
        diagnostics.restart_gain(result),
        diagnostics.fresh_draws(result),
    ]
    assert {check.name for check in alone if check.fired} == expected
    assert diagnostics.diagnose(result, weights, pair_ids) == alone


def test_a_check_goes_into_json_which_has_no_nan():
    check = diagnostics.Diagnosis("masked_gradients", float("nan"), 0.0, True, "it is masked")
    found = json.loads(json.dumps(check.as_json(), allow_nan=False))
    assert found == {**check._asdict(), "value": None}
    assert check._replace(value=0.25).as_json()["value"] == 0.25


def test_attacks_weaker_than_mixing_the_target_in_are_flagged():
    blending = np.full(21, 0.6)
    for weaker, fired in ((2, False), (3, True)):
        attacked = np.where(np.arange(21) < weaker, 0.5, 0.7)
        # A pair without a gap.
        attacked[-1] = np.nan
        check = diagnostics.weaker_than_blending(attacked, blending)
        assert check.fired == fired


class NaNVictim(victims.Linear):
    def mean(self, images):
        return super().mean(images) * np.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.full((2, *SHAPE), 1.5, np.float32)}, "images"),
        ({"images": np.full((2, *SHAPE), np.nan, np.float32)}, "images"),
        ({"images": np.zeros((2, *SHAPE), np.uint8)}, "images.dtype"),
        ({"images": np.zeros((0, *SHAPE), np.float32)}, "at least one image"),
        ({"targets": np.zeros((2, 5, 4, 1), np.float32)}, "targets.shape"),
        ({"targets": np.zeros((3, *SHAPE), np.float32)}, "one target an image"),
        ({"weights": np.ones(3)}, "one weight"),
        ({"weights": np.array([1.0, -1.0])}, "weights"),
        ({"weights": np.array([1.0, np.nan])}, "weights"),
        ({"layers": ()}, "layers"),
        ({"layers": (1,)}, "layers"),
        ({"layers": "middle"}, "layers"),
        ({"layers": "0"}, "layers"),
        ({"layers": (0.9,)}, "layers"),
        ({"objective": "latent_k"}, "did you mean 'latent_kl'"),
        ({"ancestors": "means"}, "did you mean 'mean'"),
        ({"bounds": (1.0, -1.0)}, "bounds"),
        ({"bounds": None}, "bounds"),
        ({"bounds": (-1.0, 0.0, 1.0)}, "bounds"),
        ({"bounds": "ab"}, "bounds"),
        ({"images": np.full((2, *SHAPE), 1.001, np.float32)}, "within the bounds"),
        ({"targets": np.full((2, *SHAPE), np.nan, np.float32)}, "within the bounds"),
        ({"victim": NaNVictim()}, "finite posteriors"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"restarts": -1}, "restarts"),
        ({"memory": 0}, "memory"),
        ({"pair_ids": [0]}, r"pair_ids.shape. Expected \(2,\)"),
        ({"seed": 2**31}, "seed"),
        ({"seed": "0", "ancestors": "sample"}, "seed"),
    ],
)
def test_bad_input_is_named(changes, message):
    images, targets = _pairs(2)
    arguments = {
        "victim": victims.Linear(),
        "images": images,
        "targets": targets,
        "weights": np.ones(2),
    }
    with pytest.raises(ValueError, match=message):
        attacks.attack(**(arguments | changes))


def test_rounding_beyond_the_bounds_is_no_distortion():
    images, targets = _pairs(2)
    images[0], images[1] = 1.0, -1.0
    result = attacks.attack(victims.Linear(), images * np.float32(1.00001), targets, [1e-3, 1e3])
    assert np.all(np.abs(result.adversarial) <= 1)
    np.testing.assert_allclose(result.adversarial, images + result.distortion, atol=1e-6)
    assert result.distortion_norm[1] == 0


def test_the_one_call_has_the_options_of_an_attack_that_is_set_up_once():
    once = dict(inspect.signature(attacks.attack).parameters)
    for name in ("images", "targets", "weights", "pair_ids"):
        del once[name]
    assert once == dict(inspect.signature(attacks.Attack).parameters)


@pytest.mark.parametrize(
    "encoder", [lambda x: x, lambda x: (x[:, 0, 0], x[:, 0]), lambda x: None, lambda x: {"mean": x}]
)
def test_encoders_that_give_something_else_are_refused(encoder):
    with pytest.raises(ValueError, match="encoder"):
        attacks.Victim(encoder=encoder, image_shape=(8, 8, 1))
    with pytest.raises(ValueError, match="image_shape"):
        attacks.Victim(encoder=encoder)


def test_a_model_that_does_not_say_what_it_gives_is_refused_with_what_to_wrap_it_in():
    images, targets = _pairs(2)
    for call in (
        lambda: attacks.attack(_keras_encoder(), images, targets, np.ones(2)),
        lambda: attacks.maximum_damage(_keras_encoder(), images, 0.1),
    ):
        with pytest.raises(
            ValueError, match=r"attacks.Victim.encoder=.* Received: victim=Functional"
        ):
            call()
    with pytest.raises(ValueError, match="a number above 0, beside a decoder"):
        attacks.Victim(encoder=_keras_encoder(), decoder=lambda z: z)


def test_models_and_adapters_have_all_that_an_attack_asks_for():
    asked = {*vars(attacks.Attackable), *attacks.Attackable.__annotations__, *vars(Decodable)}
    asked = {name for name in asked if not name.startswith("_")}
    assert {"posteriors", "latent_dims"} < asked
    model = SeatbeltVAE(image_shape=(32, 32, 1), latent_dims=(2,))
    for victim in (model, attacks.Victim(encoder=_keras_encoder())):
        assert all(hasattr(victim, name) for name in asked)


def test_the_programs_know_every_objective():
    assert set(presets.ATTACK_OBJECTIVES) == set(objectives.names())


def test_the_largest_seed_is_as_good_as_any():
    images, targets = _pairs(2)
    largest = attacks.attack(victims.Linear(), images, targets, np.zeros(2), seed=2**20 - 1)
    assert np.all(largest.divergence < largest.unattacked_divergence)


def test_scoring_draws_are_those_of_the_seed():
    one, same, other = (scoring.draw(victims.Linear(), 4, seed)[0] for seed in (0, 0, 1))
    attackers = scoring.draw(victims.Linear(), 4, 0, scoring.ATTACKS)[0]
    assert not np.any(np.isclose(one, attackers))
    np.testing.assert_array_equal(one, same)
    assert np.any(one != other)


def test_the_fresh_divergence_is_averaged_over_draws_that_the_attack_has_not_seen(model):
    images, targets = _pairs(2, (32, 32, 1), size=1.0)
    options = {"ancestors": "sample", "draws": 1, "max_evaluations": 10, "seed": 5}
    result = attacks.attack(model, images, targets, np.full(2, 1e-3), **options)

    def averaged(noise):
        """Σ_i KL(q(z^i | x + d) ‖ q(z^i | x_t)) in float64, one draw of the ancestors at a time."""
        found = []
        for place in range(len(noise[0])):
            one = tuple(draws[place : place + 1] for draws in noise)
            ends = (model.posteriors(end, one) for end in (result.adversarial, targets))
            total = np.zeros(2)
            for attacked, target in zip(*ends, strict=True):
                mean, stddev, end, width = (np.float64(t)[:, 0] for t in (*attacked, *target))
                terms = np.log(width / stddev) + (stddev**2 + (mean - end) ** 2) / (2 * width**2)
                total += np.sum(terms - 0.5, axis=1)
            found.append(total)
        return np.mean(found, axis=0)

    seen = averaged(scoring.draw(model, 1, 5, scoring.ATTACKS))
    np.testing.assert_allclose(result.divergence, seen, rtol=1e-3)
    fresh = averaged(scoring.draw(model, 16, 6))
    np.testing.assert_allclose(result.fresh_divergence, fresh, rtol=1e-3)
    result = result._replace(adversarial=images)
    before = averaged(scoring.draw(model, 16, 6))
    np.testing.assert_allclose(result.unattacked_fresh_divergence, before, rtol=1e-3)
    assert not np.any(np.isclose(seen, fresh, rtol=1e-2))
