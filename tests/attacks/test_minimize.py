"""The batched box-constrained minimiser against exact solutions and SciPy."""

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from seatbelt_tf.attacks import Status, minimize_in_box
from seatbelt_tf.attacks.box_result import BoxResult

SOLVED = (Status.CONVERGED, Status.OPTIMAL_AT_START)


class Quadratics:
    """B problems x'Hx / 2 - b'x over [-1.5, 1.5]^D whose solution is chosen first.

    H = Q diag(eigenvalues) Q' with Q a product of three reflections. From the solution x* and
    multipliers that are 0 off the bounds and point outwards on them, b = Hx* - multipliers makes x*
    satisfy the conditions of Karush, Kuhn and Tucker, so it is the only minimum.
    """

    def __init__(self, dimension, cases, seed=0):
        rng = np.random.default_rng(seed)
        batch = len(cases)
        directions = rng.normal(size=(3, batch, dimension))
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        spectra = [np.geomspace(1.0, condition, dimension) for condition, _ in cases]
        self.directions = tf.constant(directions)
        self.eigenvalues = tf.constant(np.stack([rng.permutation(s) for s in spectra]))
        self.lower, self.upper = np.full((2, batch, dimension), [[[-1.5]], [[1.5]]])
        self.solution = rng.uniform(-1.0, 1.0, (batch, dimension))
        multipliers = np.zeros((batch, dimension))
        for item, (condition, active) in enumerate(cases):
            chosen = rng.permutation(dimension)[: round(active * dimension)]
            side = rng.choice([-1.0, 1.0], len(chosen))
            self.solution[item, chosen] = 1.5 * side
            size = rng.uniform(0.1, 1.0, len(chosen)) * np.sqrt(condition)
            multipliers[item, chosen] = -side * size
        self.linear = tf.zeros_like(self.eigenvalues)
        products = self.gradients(self.solution, np.arange(batch))
        self.linear = products - multipliers
        self.initial = rng.uniform(-1.5, 1.5, (batch, dimension))

    def gradients(self, positions, items):
        directions = tf.gather(self.directions, items, axis=1)
        result = tf.convert_to_tensor(positions)
        for direction in tf.unstack(directions):
            result -= 2.0 * direction * tf.reduce_sum(direction * result, -1, keepdims=True)
        result *= tf.gather(self.eigenvalues, items)
        for direction in tf.unstack(directions)[::-1]:
            result -= 2.0 * direction * tf.reduce_sum(direction * result, -1, keepdims=True)
        return result - tf.gather(self.linear, items)

    def __call__(self, positions, items):
        gradients = self.gradients(positions, items)
        linear = tf.gather(self.linear, items)
        return tf.reduce_sum(positions * (gradients - linear), -1) / 2.0, gradients

    def relative_error(self, result):
        difference = np.linalg.norm(result.position - self.solution, axis=-1)
        return difference / np.linalg.norm(self.solution, axis=-1)


CASES = [(10.0, 0.0), (10.0, 0.5), (1e3, 0.3), (1e3, 1.0)]


@pytest.mark.parametrize(
    ("dimension", "cases"),
    [(10, [*CASES, (1e6, 0.0), (1e6, 0.9)]), (300, CASES), (4096, [(10.0, 0.3), (1e6, 1.0)])],
)
def test_quadratics_in_a_box_reach_their_exact_solution(dimension, cases):
    quadratics = Quadratics(dimension, cases)
    result = minimize_in_box(
        quadratics, quadratics.initial, quadratics.lower, quadratics.upper, max_evaluations=600
    )
    # The error is at most tolerance * sqrt(D) / smallest eigenvalue, 1e-6; the issue asks for 1e-4.
    assert np.all(quadratics.relative_error(result) < 1e-4)
    assert set(result.status.numpy()) == {Status.CONVERGED}
    assert np.all(result.projected_gradient_norm <= 1.5e-8)


@pytest.mark.slow
@pytest.mark.parametrize("dimension", [300, 4096])
def test_quadratics_with_a_condition_of_a_million_reach_their_exact_solution(dimension):
    quadratics = Quadratics(dimension, [(1e6, 0.0), (1e6, 0.3), (1e6, 0.9), (1e6, 1.0)])
    result = minimize_in_box(
        quadratics, quadratics.initial, quadratics.lower, quadratics.upper, max_evaluations=20000
    )
    # Values near -1e6 are rounded to 1e-10, which leaves positions to 1e-5 where H is 1.
    assert np.all(quadratics.relative_error(result) < 1e-4)


def rosenbrock(positions, items):
    del items
    with tf.GradientTape() as tape:
        tape.watch(positions)
        left, right = positions[:, :-1], positions[:, 1:]
        values = tf.reduce_sum(100.0 * (right - left**2) ** 2 + (1.0 - left) ** 2, -1)
    return values, tape.gradient(values, positions)


BOXES = {
    "inside": (-2.0, 2.0),
    "on the bound": (-2.0, 0.8),
    "below": (-1.0, 0.5),
    "none": (-np.inf, np.inf),
}


def test_rosenbrock_in_a_box_ends_where_scipy_does():
    lower, upper = (np.repeat([[box[k]] for box in BOXES.values()], 10, 1) for k in (0, 1))
    initial = np.tile(np.linspace(-0.9, 0.4, 10), (len(BOXES), 1))
    result = minimize_in_box(rosenbrock, initial, lower, upper)
    assert np.all(result.status == Status.CONVERGED)
    for item in range(len(BOXES)):
        reference = scipy.optimize.minimize(
            scipy.optimize.rosen,
            initial[item],
            jac=scipy.optimize.rosen_der,
            method="L-BFGS-B",
            bounds=np.stack([lower[item], upper[item]], 1),
            options={"ftol": 1e-15, "gtol": 1e-9},
        )
        # Both stop where gradients are about 1e-8; the smallest curvature is about 0.1.
        np.testing.assert_allclose(result.position[item], reference.x, atol=1e-6)
        assert result.evaluations[item] < 2 * reference.nfev + 20


@pytest.mark.parametrize("optimizer", ["tfp", "scipy"])
def test_other_optimizers_find_the_same_minimum(optimizer):
    quadratics = Quadratics(10, [(10.0, 0.0), (10.0, 0.5), (100.0, 0.5)])
    result = minimize_in_box(
        quadratics,
        quadratics.initial,
        quadratics.lower,
        quadratics.upper,
        tolerance=1e-6,
        optimizer=optimizer,
    )
    assert isinstance(result, BoxResult)
    # A projected gradient of 1e-6 where the smallest eigenvalue is 1; neither stops later.
    assert np.all(quadratics.relative_error(result) < 1e-4)
    assert np.all(result.position.numpy() >= quadratics.lower)
    assert np.all(result.position.numpy() <= quadratics.upper)
    assert np.all(result.evaluations.numpy() <= 400)
    assert result.status.dtype == tf.int32


def planted(positions, items):
    """Six float32 problems of very different difficulty; the third is NaN beyond |x| > 0.5."""
    curvature = tf.constant([1.0, 1e4, 1.0, 1e2, 1.0, 1e6])
    weights = tf.gather(curvature, items)[:, None] ** tf.linspace(0.0, 1.0, 40)
    values = tf.reduce_sum(weights * (positions - 0.3) ** 2 + tf.sin(3.0 * positions), -1)
    gradients = 2.0 * weights * (positions - 0.3) + 3.0 * tf.cos(3.0 * positions)
    hostile = (items == 2) & (tf.reduce_max(tf.abs(positions), -1) > 0.5)
    values = tf.where(hostile, float("nan"), values)
    return values, tf.where(hostile[:, None], float("nan"), gradients)


def test_items_do_not_depend_on_the_others_to_the_bit():
    initial = np.random.default_rng(0).uniform(-0.9, 0.9, (6, 40)).astype(np.float32)
    together = minimize_in_box(planted, initial, -1.0, 1.0, max_evaluations=80)
    assert together.status[2] == Status.NOT_FINITE
    assert len(set(together.evaluations.numpy())) > 3

    def solve(chosen):
        chosen = tf.constant(chosen)
        return minimize_in_box(
            lambda positions, items: planted(positions, tf.gather(chosen, items)),
            initial[chosen],
            -1.0,
            1.0,
            max_evaluations=80,
        )

    for chosen in [0], [5, 1]:
        for part, whole in zip(solve(chosen), together, strict=True):
            np.testing.assert_array_equal(part, whole.numpy()[chosen])


def test_only_items_that_run_are_evaluated():
    quadratics = Quadratics(10, CASES)
    seen = []

    def counted(positions, items):
        recorded = tf.py_function(lambda rows: seen.append(rows.numpy()), [items], [])
        with tf.control_dependencies([recorded] if recorded is not None else []):
            return quadratics(positions, tf.identity(items))

    result = minimize_in_box(counted, quadratics.initial, quadratics.lower, quadratics.upper)
    counts = np.bincount(np.concatenate(seen), minlength=4)
    assert np.all(counts >= result.evaluations)
    # The last one running is evaluated in pairs.
    longest = np.argmax(result.evaluations)
    assert np.all(np.delete(counts - result.evaluations, longest) == 0)


def test_fixed_coordinates_stay_and_the_start_is_clipped():
    lower = np.array([[-1.0, 0.25, -1.0]])
    upper = np.array([[1.0, 0.25, 0.5]])
    result = minimize_in_box(
        lambda x, _: (tf.reduce_sum((x - 0.75) ** 2, -1), 2.0 * (x - 0.75)),
        np.array([[7.0, -7.0, 7.0]]),
        lower,
        upper,
    )
    np.testing.assert_allclose(result.position, [[0.75, 0.25, 0.5]], atol=1e-8)
    assert result.position[0, 1] == 0.25
    assert result.status[0] == Status.CONVERGED


def test_the_value_is_the_lowest_evaluated_one():
    evaluated = []

    def noisy(positions, items):
        value = tf.reduce_sum(tf.square(positions), -1) + 1e-3 * tf.sin(1e4 * positions[:, 0])
        record = tf.py_function(lambda v: evaluated.append(v.numpy()), [value], [])
        with tf.control_dependencies([record] if record is not None else []):
            value = tf.identity(value)
        return value, 2.0 * positions

    result = minimize_in_box(noisy, np.full((1, 5), 0.7), -1.0, 1.0, max_evaluations=60)
    assert result.value[0] == np.min(evaluated)


def test_norm_with_no_gradient_at_its_kink_is_left_or_kept_as_its_weight_demands():
    weights = tf.constant([0.5, 1e3, 1e6], tf.float32)
    goal = tf.linspace(0.2, 0.8, 30)

    def distance_and_norm(distortions, items):
        weight = tf.gather(weights, items)[:, None]
        norm = tf.norm(distortions, axis=-1, keepdims=True)
        residual = distortions - goal
        values = tf.reduce_sum(residual**2, -1, keepdims=True) + weight * norm
        gradients = 2.0 * residual + weight * tf.math.divide_no_nan(distortions, norm)
        return values[:, 0], gradients

    result = minimize_in_box(distance_and_norm, np.zeros((3, 30), np.float32), -1.0, 1.0)
    # |goal| = 2.9 > weight / 2: shrink the goal by weight / 2 along itself; else stay at 0.
    shrunk = goal * (1.0 - 0.25 / tf.norm(goal))
    np.testing.assert_allclose(result.position[0], shrunk, atol=1e-4)
    np.testing.assert_array_equal(result.position[1:], np.zeros((2, 30)))
    assert np.all(result.status.numpy()[1:] == Status.LINE_SEARCH_FAILED)


def test_every_status_is_told_apart():
    def function(positions, items):
        values = tf.reduce_sum(positions**2, -1)
        gradients = 2.0 * positions
        uphill = tf.where(items[:, None] == 3, -gradients, gradients)
        nothing = tf.fill(tf.shape(positions), tf.constant(float("nan"), positions.dtype))
        return values, tf.where(items[:, None] == 4, nothing, uphill)

    initial = np.array([[0.0, 0.0], [0.5, 1.0], [0.0, -0.7], [0.3, 0.1], [0.2, 0.2]])
    lower = np.array([[-1.0], [0.25], [-1.0], [-1.0], [-1.0]])
    result = minimize_in_box(function, initial, lower, 1.0)
    assert [Status(status) for status in result.status.numpy()] == [
        Status.OPTIMAL_AT_START,
        Status.CONVERGED,
        Status.CONVERGED,
        Status.LINE_SEARCH_FAILED,
        Status.NOT_FINITE,
    ]
    assert result.evaluations[0] == result.evaluations[4] == 1
    np.testing.assert_array_equal(result.position[4], initial[4])


@pytest.mark.parametrize("optimizer", ["lbfgs", "tfp", "scipy", "adam"])
def test_no_item_is_evaluated_more_often_than_allowed(optimizer):
    initial = np.array([[-1.0, 1.0, 0.5], [0.5, 0.0, 0.0]])
    result = minimize_in_box(rosenbrock, initial, -2.0, 2.0, max_evaluations=5, optimizer=optimizer)
    assert np.all(result.status == Status.EVALUATION_LIMIT)
    assert np.all(result.evaluations.numpy() <= 5)
    assert np.all(result.value <= rosenbrock(tf.constant(initial), None)[0])


@pytest.mark.parametrize("optimizer", ["lbfgs", "tfp", "adam"])
def test_the_limit_of_a_traced_function_may_be_a_tensor(optimizer):
    initial = np.array([[-1.0, 1.0, 0.5], [0.5, 0.0, 0.0]])

    @tf.function
    def solve(limit):
        return minimize_in_box(
            rosenbrock, initial, -2.0, 2.0, max_evaluations=limit, optimizer=optimizer
        )

    for limit in (30, 60):
        expected = minimize_in_box(
            rosenbrock, initial, -2.0, 2.0, max_evaluations=limit, optimizer=optimizer
        )
        np.testing.assert_array_equal(solve(tf.constant(limit)).evaluations, expected.evaluations)


def test_a_region_that_is_not_finite_only_shortens_the_step():
    def barrier(positions, items):
        del items
        inside = positions < 0.5
        room = tf.where(inside, 0.5 - positions, 1.0)
        value = -tf.math.log(room) - 20.0 * positions
        gradient = 1.0 / room - 20.0
        beyond = tf.constant(float("nan"), positions.dtype)
        return tf.where(inside, value, beyond)[:, 0], tf.where(inside, gradient, beyond)

    result = minimize_in_box(barrier, np.array([[0.0], [0.449]]), -1.0, 1.0)
    np.testing.assert_allclose(result.position, 0.45, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_runs_inside_a_tf_function_with_an_unknown_batch(dtype):
    def function(positions, items):
        del items
        return tf.reduce_sum((positions - 0.4) ** 4, -1), 4.0 * (positions - 0.4) ** 3

    @tf.function(input_signature=[tf.TensorSpec([None, 7], dtype)])
    def solve(initial):
        return minimize_in_box(function, initial, -1.0, 0.3)

    for batch in (1, 5):
        result = solve(np.zeros((batch, 7), dtype))
        np.testing.assert_array_equal(result.position, np.full((batch, 7), 0.3, dtype))
        assert result.value.dtype == dtype


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("initial", {"initial": np.zeros(3)}),
        ("initial", {"initial": np.zeros((0, 3))}),
        ("initial", {"initial": np.zeros((2, 3), int)}),
        ("lower", {"lower": np.zeros(4)}),
        ("upper", {"upper": np.zeros((3, 3))}),
        ("lower", {"lower": 2.0}),
        ("upper", {"upper": np.nan}),
        ("lower", {"lower": [[0.0, np.nan, 0.0]]}),
        ("max_evaluations", {"max_evaluations": 0}),
        ("memory", {"memory": 0}),
        ("tolerance", {"tolerance": -1e-9}),
        ("tolerance", {"tolerance": np.nan}),
        ("optimizer", {"optimizer": "lbfsg"}),
        ("value_and_gradients", {"value_and_gradients": 3}),
    ],
)
def test_bad_arguments_are_named_in_the_error(name, change):
    arguments = {"initial": np.zeros((2, 3)), "lower": -1.0, "upper": 1.0} | change
    function = arguments.pop("value_and_gradients", rosenbrock)
    with pytest.raises(ValueError, match=rf"Invalid value for {name}\. Expected"):
        minimize_in_box(function, **arguments)


def test_a_misspelt_optimizer_is_answered_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'lbfgs'"):
        minimize_in_box(rosenbrock, np.zeros((2, 3)), -1.0, 1.0, optimizer="lbfgsb")
