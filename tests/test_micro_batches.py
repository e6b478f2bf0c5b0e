"""A step whose convolutions are computed in parts has the gradient of the whole batch."""

import numpy as np
import pytest
import tensorflow as tf

from seatbelt_tf import SeatbeltVAE


def _gradients(accumulate, dtype="float32"):
    model = SeatbeltVAE(
        image_shape=(32, 32, 1), latent_dims=(6, 4, 3), beta=6.0, dataset_size=100, dtype=dtype
    )
    # Some units of the lower layers are below it, some above.
    model.free_bits = 2.5
    model.accumulate = accumulate
    images = np.random.default_rng(0).uniform(-1, 1, (12, 32, 32, 1)).astype(np.float32)

    @tf.function(autograph=False)
    def compute(images):
        noise = model._noise(12, 0, 0)
        with tf.GradientTape() as tape:
            terms = model._objective(images, noise, training=True)
        return terms.loss, tape.gradient(terms.loss, model.trainable_variables)

    loss, gradients = compute(tf.constant(images))
    return float(loss), [gradient.numpy() for gradient in gradients], model


@pytest.mark.parametrize("accumulate", [2, 4])
def test_loss_gradient_and_statistics_are_those_of_the_whole_batch(accumulate):
    loss, gradients, whole = _gradients(1)
    other_loss, others, model = _gradients(accumulate)
    assert other_loss == pytest.approx(loss, rel=1e-6)
    # The specified bound; float32 sums in another order.
    for gradient, other in zip(gradients, others, strict=True):
        error = np.linalg.norm(gradient - other)
        assert error <= 1e-5 * np.linalg.norm(gradient), gradient.shape
    for a, b in zip(whole.non_trainable_variables, model.non_trainable_variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_half_precision_networks_can_be_split_too():
    loss, gradients, _ = _gradients(1, "mixed_bfloat16")
    other_loss, others, _ = _gradients(3, "mixed_bfloat16")
    assert other_loss == pytest.approx(loss, rel=1e-2)
    assert all(np.all(np.isfinite(other)) for other in others)
    assert [g.shape for g in gradients] == [o.shape for o in others]
