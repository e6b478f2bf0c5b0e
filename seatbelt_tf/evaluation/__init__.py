"""How good and how robust a trained model is."""

from seatbelt_tf.evaluation.traversal import traverse

__all__ = ["traverse"]
