"""How good and how robust a trained model is."""

from seatbelt_tf.evaluation.intervals import bootstrap_interval
from seatbelt_tf.evaluation.noise import noisy_log_likelihood, stddev_norms
from seatbelt_tf.evaluation.traversal import traverse

__all__ = ["bootstrap_interval", "noisy_log_likelihood", "stddev_norms", "traverse"]
