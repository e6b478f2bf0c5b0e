"""Posteriors of a least standard deviation, as Camuto et al. (2021) find that noise smooths."""

import tensorflow as tf

from seatbelt_tf.defences.base import Defence, register
from seatbelt_tf.gaussians import Gaussian


@register("variance_floor")
class VarianceFloor(Defence):
    """stddev = √(s² + min_stddev²): unlike a maximum, it leaves an attacker his gradient."""

    min_stddev: float

    def posterior(self, posterior):
        """See `Defence.posterior`."""
        mean, stddev = posterior
        return Gaussian(mean, tf.sqrt(tf.square(stddev) + self.min_stddev**2))
