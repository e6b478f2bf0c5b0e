"""The limited memory's step against a dense BFGS matrix."""

import numpy as np
import pytest
import tensorflow as tf

from seatbelt_tf.attacks import curvature

ITEMS, MEMORY, DIMENSION = 3, 4, 30


def dense_bfgs(pairs, theta):
    """B after the pairs, from theta I (Nocedal and Wright 2006, eq. 6.19)."""
    matrix = np.eye(DIMENSION) * theta
    for step, change in pairs:
        image = matrix @ step
        matrix = matrix - np.outer(image, image) / (step @ image)
        matrix = matrix + np.outer(change, change) / (step @ change)
    return matrix


@pytest.mark.parametrize("most_held", [256, 2])
def test_the_step_solves_the_block_of_the_free_coordinates(most_held, monkeypatch):
    monkeypatch.setattr(curvature, "_MOST_HELD", most_held)
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(ITEMS, DIMENSION, DIMENSION))
    hessians = roots @ roots.transpose(0, 2, 1) / DIMENSION + 0.3 * np.eye(DIMENSION)
    memory = curvature.empty(ITEMS, MEMORY, DIMENSION, tf.float64)
    known, theta = [[] for _ in range(ITEMS)], np.ones(ITEMS)
    for turn in range(7):
        steps = rng.normal(size=(ITEMS, DIMENSION)) * (rng.uniform(size=DIMENSION) < 0.8)
        # The second item learns nothing at the fourth turn.
        steps[1] *= turn != 3
        held = rng.uniform(size=(ITEMS, DIMENSION)) < 0.3
        changes = np.einsum("nij,nj->ni", hessians, steps)
        gradients = np.where(held, 0.0, rng.normal(size=(ITEMS, DIMENSION)))
        arrays = map(tf.constant, (steps, changes, held, gradients))
        memory, products = curvature.learn(memory, *arrays)
        proposed = curvature.propose(memory, products, tf.constant(gradients), tf.constant(held))
        for item in range(ITEMS):
            step, change, gradient = steps[item], changes[item], gradients[item]
            if step.any():
                theta[item] = (change @ change) / (step @ change)
                change = np.where((step == 0) & held[item], 0.0, change)
                known[item] = [*known[item], (step, change)][-MEMORY:]
            matrix = dense_bfgs(known[item], theta[item])
            taught = np.any([change != 0 for _, change in known[item]], axis=0)
            free = ~held[item]
            free[np.flatnonzero(held[item] & taught)[most_held:]] = True
            expected = np.linalg.solve(matrix[np.ix_(free, free)], -gradient[free])
            np.testing.assert_allclose(proposed[item].numpy()[free], expected, atol=1e-11)
