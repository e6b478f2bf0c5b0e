"""Distances of a model that halves its images, worked out by hand."""

import numpy as np
import pytest

from seatbelt_tf.evaluation import distances


def test_distances_are_those_of_a_model_that_halves_its_images():
    targets = np.full((450, 2, 2, 3), 0.8, np.float32)
    adversarial = np.full((450, 2, 2, 3), 0.4, np.float32)
    found = distances.distances(lambda images: images / 2, adversarial, targets)
    # Twelve equal differences c have a norm of c√12.
    root = np.sqrt(12)
    np.testing.assert_allclose(found.target_reconstruction, np.full(450, 0.4 * root), rtol=1e-6)
    np.testing.assert_allclose(found.adversarial_target, np.full(450, 0.4 * root), rtol=1e-6)
    np.testing.assert_allclose(found.output_target, np.full(450, 0.6 * root), rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 4, 4, 1), (3, 4, 4), (3, 4, 4, 3)])
def test_attacked_images_of_another_shape_than_the_targets_are_refused(shape):
    with pytest.raises(ValueError, match=r"adversarial\.shape"):
        distances.distances(lambda images: images, np.zeros(shape), np.zeros((3, 4, 4, 1)))
