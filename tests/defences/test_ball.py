"""Projection onto ball ∩ box against SciPy, and ascent on quadratics."""

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from seatbelt_tf import ball

SHAPE = (2, 2, 1)


def _batch(count, scale, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.uniform(-1, 1, (count, *SHAPE)).astype(np.float32)
    return images, (scale * rng.normal(size=images.shape)).astype(np.float32)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_projection_is_the_nearest_point_of_ball_and_box(scale):
    images, wanted = _batch(6, scale)
    found = ball.project(wanted, images, 0.7).numpy()
    for row in range(6):
        x, v = np.float64(images[row]).ravel(), np.float64(wanted[row]).ravel()
        solution = scipy.optimize.minimize(
            lambda d, v=v: np.sum((d - v) ** 2),
            np.zeros(4),
            jac=lambda d, v=v: 2 * (d - v),
            method="SLSQP",
            bounds=list(zip(-1 - x, 1 - x, strict=True)),
            constraints={
                "type": "ineq",
                "fun": lambda d: 0.49 - d @ d,
                "jac": lambda d: -2 * d,
            },
            options={"ftol": 1e-14, "maxiter": 500},
        )
        # SLSQP's own accuracy.
        np.testing.assert_allclose(found[row].ravel(), solution.x, atol=1e-4)


@pytest.mark.parametrize("project", [ball.project, ball.feasible])
def test_projections_stay_inside_and_leave_what_is_inside(project):
    images, wanted = _batch(50, 3.0)
    found = project(wanted, images, 0.5).numpy()
    assert np.all(np.linalg.norm(found.reshape(50, -1), axis=1) <= 0.5 * (1 + 1e-6))
    assert np.all(np.abs(images + found) <= 1 + 1e-6)
    inside = np.clip(images + 0.01, -1, 1) - images
    np.testing.assert_allclose(project(inside, images, 0.5), inside, atol=1e-6)
    np.testing.assert_array_equal(project(np.zeros_like(images), images, 0.5), 0)


def test_ascent_climbs_a_quadratic_to_its_largest_singular_value():
    matrix = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)
    images = np.zeros((3, *SHAPE), np.float32)

    def value(attacked):
        return tf.reduce_sum(tf.square(tf.reshape(attacked, [3, 4]) @ matrix), axis=1)

    start = np.random.default_rng(2).normal(size=images.shape).astype(np.float32)
    found = ball.ascend(value, tf.constant(images), 0.3, 50, start)
    largest = np.linalg.svd(matrix)[1][0]
    np.testing.assert_allclose(value(found), (0.3 * largest) ** 2, rtol=1e-3)
