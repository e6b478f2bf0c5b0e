"""Diagonal Gaussians: log densities, divergences, distances and a norm with a gradient at 0.

Densities and divergences come from TensorFlow Probability; what it lacks (the 2-Wasserstein
distance, a norm that can be differentiated at 0) is here. Everything is computed in float32 at
least, whatever the precision of the networks, because differences of large log densities are
meaningless in 16 bits. All logarithms are natural: densities and divergences are in nats.
"""

import warnings
from typing import NamedTuple

import tensorflow as tf
from numpy.typing import ArrayLike

with warnings.catch_warnings():
    # TFP 0.25 compares versions with distutils when it is imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    import tensorflow_probability as tfp

tfd = tfp.distributions


class Gaussian(NamedTuple):
    """The parameters of a batch of diagonal Gaussians Normal(mean, diag(stddev²)).

    Attributes:
        mean: (..., d) means.
        stddev: (..., d) standard deviations, positive.
    """

    mean: tf.Tensor
    stddev: tf.Tensor


def _normal(gaussian):
    mean, stddev = gaussian
    return tfd.Normal(_at_least_float32(mean), _at_least_float32(stddev))


def _at_least_float32(tensor):
    tensor = tf.convert_to_tensor(tensor)
    return tf.cast(tensor, tf.float32) if tensor.dtype.size < 4 else tensor


def standard(like: ArrayLike) -> Gaussian:
    """Normal(0, I) in shape and type like a tensor: (..., d) -> `Gaussian` of (..., d)."""
    like = _at_least_float32(like)
    return Gaussian(tf.zeros_like(like), tf.ones_like(like))


def log_density_by_unit(value: ArrayLike, gaussian: Gaussian) -> tf.Tensor:
    """log Normal(value_j; mean_j, stddev_j²) of each unit: shapes (..., d) -> (..., d), nats."""
    return _normal(gaussian).log_prob(_at_least_float32(value))


def kl_by_unit(first: Gaussian, second: Gaussian) -> tf.Tensor:
    """KL(first_j ‖ second_j) of each unit: two (..., d) Gaussians -> (..., d), nats.

    log(s₂/s₁) + (s₁² + (m₁ − m₂)²) / (2 s₂²) − 1/2.
    """
    return tfd.kl_divergence(_normal(first), _normal(second))


def kl(first: Gaussian, second: Gaussian) -> tf.Tensor:
    """KL(first ‖ second) of diagonal Gaussians: two (..., d) Gaussians -> (...), nats."""
    return tf.reduce_sum(kl_by_unit(first, second), axis=-1)


def squared_wasserstein2(first: Gaussian, second: Gaussian) -> tf.Tensor:
    """Squared 2-Wasserstein distance ‖m₁ − m₂‖² + ‖s₁ − s₂‖²: two (..., d) Gaussians -> (...).

    The closed form for commuting covariances, of which diagonal ones are a case.
    """
    differences = [
        _at_least_float32(a) - _at_least_float32(b) for a, b in zip(first, second, strict=True)
    ]
    return tf.add_n([tf.reduce_sum(tf.square(difference), axis=-1) for difference in differences])


def wasserstein2(first: Gaussian, second: Gaussian) -> tf.Tensor:
    """2-Wasserstein distance √(‖m₁ − m₂‖² + ‖s₁ − s₂‖²): two (..., d) Gaussians -> (...).

    Its gradient is taken to be 0 where the two coincide.
    """
    return safe_sqrt(squared_wasserstein2(first, second))


def safe_sqrt(value: tf.Tensor) -> tf.Tensor:
    """√value, with gradient 0 (not infinity, nor NaN further back) where `value` is 0."""
    is_zero = value <= 0
    root = tf.sqrt(tf.where(is_zero, tf.ones_like(value), value))
    return tf.where(is_zero, tf.zeros_like(value), root)


def safe_norm(vectors: tf.Tensor) -> tf.Tensor:
    """Euclidean norm over the last axis, (..., d) -> (...), with gradient 0 at the zero vector.

    `tf.norm` has a NaN gradient there, and an attack starts from the zero distortion. Vectors are
    scaled by their largest entry first, so that no square overflows or vanishes.
    """
    scale = tf.stop_gradient(tf.reduce_max(tf.abs(vectors), axis=-1, keepdims=True))
    scale = tf.where(scale > 0, scale, tf.ones_like(scale))
    squared = tf.reduce_sum(tf.square(vectors / scale), axis=-1)
    return safe_sqrt(squared) * tf.squeeze(scale, -1)
